"""The parts name modules and tests that exist."""

from tests.mutants.copies import ROOT
from tests.mutants.parts import MODULES, PARTS


def test_modules_and_tests_exist():
    """A module that was moved would end `make mutants` at its start."""
    assert [name for name in MODULES if not (ROOT / name).is_file()] == []
    assert [name for part in PARTS for name in part.tests if not (ROOT / name).exists()] == []
    assert len(set(MODULES)) == len(MODULES)


def test_all_policy_code_is_mutated():
    """Modules that are added later too."""
    folder = ROOT / "dynamic_layer" / "policies"
    names = {path.relative_to(ROOT).as_posix() for path in folder.glob("*.py")}
    assert names - set(MODULES) == {"dynamic_layer/policies/__init__.py"}
