"""A test that waits too long while kernels are compiled does not notice a mutant."""

from types import SimpleNamespace

import pytest

from tests.mutants.__main__ import Trial
from tests.mutants.parts import Outcome

WAITS, OWN = "tests/console/test_a.py::test_a", "tests/state/test_b.py::test_b"


@pytest.mark.parametrize(
    ("compiles", "again", "noticed"), [(True, "", OWN), (True, WAITS, WAITS), (False, "", WAITS)]
)
def test_a_test_that_waits_has_to_fail_with_compiled_kernels_too(
    monkeypatch, compiles, again, noticed
):
    found = {(WAITS, OWN): WAITS, (WAITS,): again, (OWN,): OWN, (): ""}
    monkeypatch.setattr(Trial, "_failure", lambda *of: found[tuple(of[-1])])
    copy = SimpleNamespace(compiles=lambda _: compiles)
    mutant = Outcome("state/kernel.py", 1, "NumberReplacer", "", "")
    trial = object.__new__(Trial)
    assert trial._first_failure(copy, mutant, [WAITS, OWN]) == noticed
    assert trial._first_failure(copy, mutant, [WAITS]) == again
