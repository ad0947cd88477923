"""Continuous integration runs a few failed tests again, and no more than a few."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.failed_again import LAST_FAILED, MOST

ROOT = Path(__file__).parents[2]
TESTS = "def test_passes():\n    pass\n\ndef test_fails():\n    assert False\n"


@pytest.mark.parametrize(
    ("failed", "status", "said"),
    [
        (["test_passes"], 0, "FLAKY test_it.py::test_passes"),
        (["test_passes", "test_fails"], 1, "1 failed, 1 passed"),
        (["test_passes"] * (MOST + 1), 1, f"{MOST + 1} tests failed"),
    ],
)
def test_a_failed_test_counts_as_passed_only_if_it_passes_alone(tmp_path, failed, status, said):
    (tmp_path / "test_it.py").write_text(TESTS)
    record = tmp_path / LAST_FAILED
    record.parent.mkdir(parents=True)
    ids = [f"test_it.py::{name}" for name in failed]
    names = ids if len(ids) <= MOST else [f"{one}[{n}]" for n, one in enumerate(ids)]
    record.write_text(json.dumps(dict.fromkeys(names, True)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.failed_again"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert ("FLAKY" in done.stdout) == (status == 0)
