"""`make` takes the newest Python that is suitable and works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
NAMES = ("python3.13", "python3.12", "python3.11", "python3")
WORKS = f'exec {sys.executable} "$@"'
SHIM = "echo 'command not found' >&2; exit 127"
# It runs, but not what we ask for: another version, or one without venv.
UNSUITABLE = "exit 1"


def recipe(
    folder: Path, programs: dict[str, str], *words: str
) -> "subprocess.CompletedProcess[str]":
    """What make would run to make the environment, beside Pythons of these kinds."""
    for name in NAMES:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{programs.get(name, SHIM)}\n")
        program.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(MAKEFILE.with_name(name), folder)
    return subprocess.run(
        ["make", "--dry-run", ".venv/.installed", *words],
        cwd=folder, env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        ({"python3.13": WORKS, "python3.12": WORKS, "python3.11": WORKS}, "python3.13"),
        ({"python3.13": SHIM, "python3.12": WORKS, "python3.11": WORKS}, "python3.12"),
        ({"python3.13": UNSUITABLE, "python3.12": SHIM, "python3.11": WORKS}, "python3.11"),
        ({"python3": WORKS}, "python3"),
    ],
)
def test_the_newest_that_works_is_taken(tmp_path, programs, taken):
    assert f"|| {taken} -m venv .venv" in recipe(tmp_path, programs).stdout


def test_none_is_an_error_that_says_what_to_do(tmp_path):
    done = recipe(tmp_path, {"python3": UNSUITABLE})
    assert done.returncode == 2
    assert "expected Python 3.11, 3.12 or 3.13" in done.stderr


def test_one_that_is_named_is_taken(tmp_path):
    assert "|| other -m venv .venv" in recipe(tmp_path, {}, "PYTHON=other").stdout


@pytest.mark.parametrize(("version", "suitable"), [((3, 10), 0), ((3, 11), 1), ((3, 14), 0)])
def test_versions_that_segue_is_tested_on_are_suitable(version, suitable):
    check = MAKEFILE.read_text().split("SUITABLE := ")[1].splitlines()[0]
    check = check.replace("sys.version_info[:2]", repr(version))
    done = subprocess.run([sys.executable, "-c", check], check=False)
    assert done.returncode == 1 - suitable
