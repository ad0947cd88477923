"""A mutant's kernels are compiled with it, those that do not hold its line stay as they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.kernels import Kernels
from tests.mutants.parts import Outcome

PRODUCT = """
from numba import njit

FACTOR = 2

@njit(cache=True)
def double(number):
    return FACTOR * number

@njit(cache=True)
def fourfold(number):
    return double(double(number))

@njit(cache=True)
def more(number):
    return number + 1
"""
USER = """
import state.product
from numba import njit
from state.product import double as twice

@njit(cache=True)
def elsewhere(number):
    return twice(number)

@njit(cache=True)
def apart(number):
    return number + 5

def python(number):
    return twice(number)
"""
CALLS = """
import json
from state.product import double, fourfold, more
from state.user import apart, elsewhere

kernels = double, fourfold, more, elsewhere, apart
found = [kernel(10) for kernel in kernels]
print(json.dumps([found, [kernel.__name__ for kernel in kernels if kernel.stats.cache_misses]]))
"""
RESULTS = [20, 40, 11, 20, 15]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    for name, text in (("__init__", ""), ("product", PRODUCT), ("user", USER)):
        (tmp_path / "state" / f"{name}.py").write_text(text)
    return tmp_path


def called(project: Path) -> list[list]:
    """Return what the kernels of a project return, and which of them were compiled for it."""
    environment = os.environ | {"PYTHONPATH": str(project)}
    environment.pop("NUMBA_CACHE_DIR", None)
    run = subprocess.run(
        [sys.executable, "-c", CALLS], cwd=project, env=environment, capture_output=True, check=True
    )
    return json.loads(run.stdout)


def line_of(text: str) -> int:
    return PRODUCT.splitlines().index(text) + 1


def test_only_kernels_with_the_code_are_compiled_for_a_mutant(project):
    assert called(project) == [RESULTS, ["double", "fourfold", "more", "elsewhere", "apart"]]
    module, line = project / "state" / "product.py", line_of("    return FACTOR * number")
    text = PRODUCT.replace("FACTOR * number", "FACTOR + number")
    mutant = Outcome("state/product.py", line, "", "", "", text=text)
    with Kernels(project).without(mutant):
        module.write_text(text)
        assert called(project) == [[12, 14, 11, 12, 15], ["double", "fourfold", "elsewhere"]]
        assert called(project)[1] == []
        module.write_text(PRODUCT)
    assert called(project) == [RESULTS, []]


def test_kernels_hold_what_they_call_and_the_constants_that_they_use(project):
    holding = Kernels(project).holding
    double = {"double", "fourfold", "elsewhere"}
    assert holding("state/product.py", line_of("FACTOR = 2")) == double
    assert holding("state/product.py", line_of("    return number + 1")) == {"more"}
    first = PRODUCT.splitlines().index("@njit(cache=True)") + 1
    assert holding("state/product.py", first) == double, "a decorator is the function's"
    assert holding("state/product.py", line_of("from numba import njit")) == {*double, "more"}
    python = USER.splitlines().index("def python(number):") + 1
    assert holding("state/user.py", python) == set()
