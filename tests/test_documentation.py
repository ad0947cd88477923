"""The documentation says what is so."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segue.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    names = {re.split(r"[<>=;\[ ]", name)[0] for name in wanted}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    listed = set(re.findall(r"[a-z0-9][a-z0-9-]+", page))
    assert names - listed == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_lock_names_no_address():
    for name in ("requirements.lock", "requirements-uv.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index-url" not in text
        for requirement in re.findall(r"^[a-z0-9].*$", text, re.MULTILINE):
            assert "==" in requirement, requirement


def test_commands_of_the_readme_exist():
    commands = set(re.findall(r"segue ([a-z]+)(?: ([a-z]+))?", (ROOT / "README.md").read_text()))
    known = {
        "demo", "status", "recommend", "topics", "worker", "static", "trainer", "kafka", "feed",
        "replay", "state",
        "erase",
    }  # fmt: skip
    for command, _ in commands & {(c, s) for c, s in commands if c in known}:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
