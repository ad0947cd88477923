"""`make test` uses as many processes as cores and memory allow."""

import pytest

from tests.processes import memory_gib, processes


@pytest.mark.parametrize(
    ("cores", "gib", "expected"), [(2, 23, 6), (2, 8, 2), (16, 64, 8), (1, 4, 2), (4, 15, 5)]
)
def test_cores_and_memory_limit_the_processes(cores, gib, expected):
    assert processes(cores, gib) == expected


@pytest.mark.parametrize(("said", "expected"), [("2147483648\n", 2), ("max\n", None), (None, None)])
def test_a_containers_limit_counts(tmp_path, said, expected):
    limit = tmp_path / "memory.max"
    if said is not None:
        limit.write_text(said)
    assert memory_gib(limit) == (memory_gib(tmp_path / "missing") if expected is None else expected)
