"""The documentation says what is so."""

import importlib
import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.lazy_commands import load_command
from tests.documentation import shell_blocks

ROOT = Path(__file__).parents[1]
#: Directory READMEs too, and the reports of the benchmarks.
PAGES = sorted(
    {
        path
        for pattern in ("*.md", "*/*.md", "*/*/*.md")
        for path in ROOT.glob(pattern)
        if not {".venv", "var", "node_modules"} & set(path.relative_to(ROOT).parts)
    }
)


def test_every_dependency_has_its_reason():
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = described["project"]
    extras = project["optional-dependencies"].values()
    groups = described["dependency-groups"].values()
    wanted = [*project["dependencies"], *itertools.chain(*extras, *groups)]
    names = {re.split(r"[<>=;\[ ]", name)[0] for name in wanted}
    page = (ROOT / "DEPENDENCIES.md").read_text()
    listed = set(re.findall(r"[a-z0-9][a-z0-9-]+", page))
    assert names - listed == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_lock_names_no_address():
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) == 4
    for lock in locks:
        text = lock.read_text()
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
    "README.md": {"make demo", "pip install", "export KAFKA_BOOTSTRAP_SERVERS=..."},
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
            words = shlex.split(line, comments=True)[1:]
            command = load_command(words.pop(0))
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


@pytest.fixture
def site(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("make_site")


def test_links_to_files_outside_the_site_become_paths(site):
    text = "[a](../benchmarks/A.md#x), [b](adr/0001-b.md), [c](schemas/c.json), [d](images/d.png)"
    kept = "[b](adr/0001-b.md), [c](schemas/c.json), [d](images/d.png)"
    assert site.linked(text, inside=False) == f"a (`benchmarks/A.md`), {kept}"
    text = "[a](../../state/a.py), [b](../api.md), [c](0001-c.md)"
    assert site.linked(text, inside=True) == "a (`state/a.py`), [b](../api.md), [c](0001-c.md)"


def test_every_page_is_in_the_navigation(site):
    """Zensical's strict build finds broken links and anchors, but not these."""
    decisions = ROOT / "docs" / "adr"
    text = site.with_decisions((ROOT / "zensical.toml").read_text(), decisions)
    listed = re.findall(r'"([^"]+\.md)"', text)
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(pages)
    tomllib.loads(text)


def retired_terms() -> set[str]:
    """The first column of the table at the end of CONTRIBUTING.md."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Retired terms")[1]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    cells = (re.sub(r" ?\([^)]*\)", "", row) for row in rows if row != "retired")
    return {term for cell in cells for term in cell.split(", ")}


def prose(text: str) -> str:
    """Return the words of a page: no code, no addresses of links, the lines as they are."""
    lines, fenced = [], False
    for line in text.split("## Retired terms", maxsplit=1)[0].splitlines():
        fenced ^= line.startswith("```")
        code = fenced or line.startswith(("    ", "```"))
        lines.append("" if code else re.sub(r"`[^`]*`|\]\([^)]*\)", "", line))
    return "\n".join(lines)


WRITTEN = [
    page
    for page in PAGES
    if page.parent.name not in {"adr", "benchmarks"} and page.name != "CHANGELOG.md"
]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_pages_use_no_retired_term(page):
    """The decisions, the changelog and the reports of the benchmarks keep their words."""
    retired = re.compile(rf"\b({'|'.join(retired_terms())})s?\b", re.IGNORECASE)
    found = [
        f"{page.name}:{number}: {match[0]}"
        for number, line in enumerate(prose(page.read_text()).splitlines(), 1)
        for match in retired.finditer(line)
    ]
    assert found == []


def test_retired_terms_are_found_in_words_and_not_in_code():
    assert {"anew", "nobody", "whoever", "for ever", "news", "room", "he"} <= retired_terms()
    text = "Nobody `anew` [x](room.md)\n```\nwhoever\n```\n    he\nnews\n## Retired terms\nhe"
    assert [line.strip() for line in prose(text).splitlines() if line.strip()] == [
        "Nobody  [x", "news"
    ]  # fmt: skip


#: A number of a table, not a part of a word such as p50.
_NUMBER = re.compile(r"(?<![\w.,])\.?\d[\d.,]*\d|(?<![\w.,])\d\b")


@pytest.mark.parametrize(
    ("table", "bold"),
    [(ROOT / "README.md", False), (ROOT / "benchmarks" / "LEADERBOARD.md", True)],
    ids=["README", "LEADERBOARD"],
)
def test_figures_are_those_of_the_page_that_they_name(table, bold):
    """README: the column of values. The leaderboard: what is in bold."""
    rows = [line.strip("|").split("|") for line in table.read_text().splitlines() if "|" in line]
    rows = [row for row in rows if re.search(r"\]\(\S*(RESULTS|QUALITY|FRESHNESS)", row[-1])]
    rows = [row for row in rows if not bold or "**" in row[1]]
    assert len(rows) == (10 if bold else 5)
    for row in rows:
        values = re.findall(r"\*\*(.+?)\*\*", row[1]) if bold else [row[1]]
        target = re.search(r"\]\(([^)#]+)", row[-1])[1]
        named = (table.parent / target).read_text()
        numbers = _NUMBER.findall(" ".join(values))
        assert numbers
        assert [number for number in numbers if number not in named] == [], row


def test_every_directory_that_the_readme_links_to_says_what_is_in_it():
    text = (ROOT / "README.md").read_text()
    targets = {ROOT / target for target in re.findall(r"\]\(([^)#:]+)\)", text)}
    folders = {target for target in targets if target.is_dir()}
    assert len(folders) >= 10
    for page in [folder / "README.md" for folder in folders] + [ROOT / "docs/adr/README.md"]:
        assert "**Start reading**" in page.read_text() or page.parent.name == "clients", page


def test_pages_for_users_stay_short():
    """Two thirds of what they once were. A page that has to grow takes its words from others."""
    generated = {"settings.md", "metrics.md"}
    words = {
        page.name: len(page.read_text().split())
        for page in (ROOT / "docs").glob("*.md")
        if page.name not in generated
    }
    assert [name for name, count in words.items() if count > 1_000] == []
    assert sum(words.values()) <= 16_700
