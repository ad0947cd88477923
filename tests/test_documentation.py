"""The documentation says what is so."""

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from segue.cli import app
from tests.documentation import shell_blocks

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


# What no test runs, by its first command; a new one needs a line here and a reason on its page.
EXCEPTED = {
    "README.md": {"make demo", "segue demo", "export KAFKA_BOOTSTRAP_SERVERS=..."},
    "tutorial.md": {"make setup"},
}


RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md"]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_shell_blocks_that_no_test_runs_are_few(page):
    blocks = shell_blocks(page)
    excepted = [block.text.removeprefix(".venv/bin/").split() for block in blocks if block.reason]
    assert {" ".join(words[:2]) for words in excepted} == EXCEPTED[page.name]
    assert len(blocks) > len(excepted)


@pytest.mark.parametrize(
    "block",
    [block for page in RUN for block in shell_blocks(page) if block.reason],
    ids=lambda block: block.place,
)
def test_what_is_not_run_says_why_and_can_be_parsed(block):
    assert len(block.reason.split()) > 5
    for line in block.text.splitlines():
        if line.startswith(("segue ", ".venv/bin/segue ")):
            command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            command.make_context(line, words)
    pytest.skip(f"{block.place} is not run: {block.reason}")


def test_a_table_is_no_shell_block_and_a_reason_holds_for_the_next_block_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n    make one\n    make two\n\ntext\n\n    | a table |\n\n"
        "<!-- not run: it takes a day -->\n```bash\nmake three\n```\n```json\n{}\n```\n"
        "<!-- not run: about nothing -->\nwords in between\n```bash\nmake four\n```\n"
    )
    found = [(block.line, block.text, block.reason) for block in shell_blocks(page)]
    assert found == [
        (2, "make one\nmake two", ""), (11, "make three", "it takes a day"), (19, "make four", "")
    ]  # fmt: skip
