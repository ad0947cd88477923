"""A mutant's tests run in the order that is wanted, and a failure or an endless loop is noticed."""

from pathlib import Path

import pytest

from tests.mutants.known_tests import lines_with
from tests.mutants.session import Run, result_of

TESTS = """
from product import double, forever

def test_double(): assert double(2) == 4
def test_wrong(): assert double(2) == 5
def test_forever(): forever()
def test_after(): pass
"""
PRODUCT = """
def double(number):
    return 2 * number

def forever():
    while True:
        pass
"""


@pytest.fixture
def project(tmp_path) -> Path:
    folder = tmp_path / "copy"
    (folder / "tests").mkdir(parents=True)
    (folder / "product.py").write_text(PRODUCT)
    (folder / "tests" / "test_product.py").write_text(TESTS)
    return folder


def run(project: Path, *names: str, usual_s: float = 1.0) -> Run:
    file = "tests/test_product.py"
    tests = {f"{file}::{name}": usual_s for name in names}
    return Run(project, (file,), usual_s=tests, slack_s=0.2)


def test_tests_run_in_order_to_the_first_failure(project):
    result = result_of(run(project, "test_after", "test_wrong", "test_double"))
    assert list(result.passed_s) == ["tests/test_product.py::test_after"]
    assert result.failed == ["tests/test_product.py::test_wrong"]
    result = result_of(run(project, "test_double"))
    assert list(result.passed_s) == ["tests/test_product.py::test_double"]
    assert result.failed == []


def test_a_test_without_an_end_is_noticed(project):
    result = result_of(run(project, "test_double", "test_forever", "test_after", usual_s=0.0))
    assert list(result.passed_s) == ["tests/test_product.py::test_double"]
    assert result.failed == ["tests/test_product.py::test_forever did not end"]


def test_a_project_that_cannot_be_imported_is_noticed(project):
    (project / "product.py").write_text("double = forever")
    assert result_of(run(project, "test_double")).failed == ["tests/test_product.py"]


TEXT = """A = 1
def f(a,
      b):
    if (a and
        b):
        return a
    return g(
        b)
"""


def test_lines_of_a_statement():
    assert lines_with(TEXT, 1) == []  # runs at import: any test of the module may notice it
    assert lines_with(TEXT, 3) == [2, 3, 4, 5, 6, 7, 8]
    assert lines_with(TEXT, 5) == [4, 5]
    assert lines_with(TEXT, 6) == [6]
    assert lines_with(TEXT, 8) == [7, 8]
