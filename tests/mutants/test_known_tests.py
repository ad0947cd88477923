"""Tests that run a mutant's line come first, and before them those that noticed other mutants."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.mutants import known_tests
from tests.mutants.known_tests import KnownTests
from tests.mutants.parts import MODULES, Outcome, part_of

MODULE = "state/merge.py"
PRODUCT = """
def double(number):
    return 2 * number

def compiled():
    return 3
"""
TESTS = """
from state.merge import double

def test_double(): assert double(2) == 4
def test_again(): assert double(3) == 6
def test_wrong(): assert double(2) == 5
def test_other(): pass
"""
FILE = "tests/state/test_product.py"
DOUBLE, AGAIN, OTHER = (f"{FILE}::test_{name}" for name in ("double", "again", "other"))


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownTests:
    monkeypatch.setattr(known_tests, "FOLDER", tmp_path)
    texts = {**dict.fromkeys(MODULES, ""), MODULE: PRODUCT, "state/__init__.py": "", FILE: TESTS}
    for name, text in texts.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    known = KnownTests(SimpleNamespace(folder=tmp_path / "copy"))  # type: ignore[arg-type]
    known.measure(part_of(MODULE).tests)
    return known


def mutant(line: int, noticed: str = "") -> Outcome:
    return Outcome(MODULE, line, "NumberReplacer", "", "", noticed=noticed)


def test_tests_of_the_line_come_first_and_what_fails_without_a_mutant_is_left_out(known):
    first, others = known.in_order(mutant(line=3))
    assert sorted(first) == [AGAIN, DOUBLE]
    assert others == [OTHER]
    first, others = known.in_order(mutant(line=6))  # of a line that no test is seen to run, any
    assert sorted(first) == [AGAIN, DOUBLE, OTHER]
    assert others == []


def test_of_a_compiled_line_tests_of_its_package_that_name_the_module_come_first(known, tmp_path):
    quick, agents = "tests/state/test_quick.py::test_quick", "tests/agents/test_b.py::test_b"
    for test, text in ((quick, ""), (agents, "import state.merge")):
        path = tmp_path / "copy" / test.partition("::")[0]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    known.usual_s |= {quick: 0.0, agents: 0.0, DOUBLE: 0.1, AGAIN: 0.2, OTHER: 0.3}
    assert known.in_order(mutant(line=6))[0] == [DOUBLE, AGAIN, OTHER, quick, agents]


@pytest.mark.parametrize("test", [DOUBLE, AGAIN])
def test_what_noticed_mutants_of_the_module_comes_first(known, test):
    known.note(mutant(line=2, noticed=test))
    known.note(mutant(line=2, noticed=OTHER))
    first, others = known.in_order(mutant(line=3))
    assert first[0] == test
    assert others == [OTHER]
    known.note(mutant(line=2, noticed=test))
    known.usual_s |= {test: 1.0, OTHER: 0.9}
    assert known.in_order(mutant(line=6))[0][:2] == [test, OTHER]  # by seconds for each mutant


def test_a_file_that_tests_share_has_them_measured_again(known, tmp_path, capsys):
    for name in ("tests/state/shared.py", "tests/agents/shared.py"):
        Path(tmp_path, "copy", name).parent.mkdir(exist_ok=True)
        Path(tmp_path, "copy", name).write_text("A = 1")
    again = KnownTests(SimpleNamespace(folder=tmp_path / "copy"))  # type: ignore[arg-type]
    assert again.usual_s == {}
    capsys.readouterr()
    again.measure(part_of(MODULE).tests)
    assert "runs tests/state " in capsys.readouterr().out
    assert sorted(again.usual_s) == [AGAIN, DOUBLE, OTHER]
