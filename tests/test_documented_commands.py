"""Every `segue` command on a page exists, with its options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.lazy_commands import COMMANDS, load_command
from tests.test_documentation import PAGES, ROOT

NAMED = [page for page in PAGES if page.name != "CHANGELOG.md"]
#: Reports name rows of their tables like commands: `segue without head`.
REPORTS = {"benchmarks", "adr"}


def commands_of(text: str, *, quoted: bool = True) -> Iterator[str]:
    """Yield commands on lines of their own and in backquotes, without comments and pipes."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\.venv/bin/)?(segue [a-z].*)$", text, re.MULTILINE)
    quotes = re.findall(r"`(segue [a-z][^`]*)`", text) if quoted else []
    for found in (*lines, *quotes):
        yield re.sub(r"(\s#|[>|&;(]).*$", "", found, flags=re.DOTALL)


def unknown_words(line: str) -> list[str]:
    """Return the words of a command that do not exist: its name, or its options."""
    words = shlex.split(line)[1:]
    if words[0] not in COMMANDS:
        return words[:1]
    command = load_command(words.pop(0))
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return [
        word for word in words
        if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known | {"--help"}
    ]  # fmt: skip


def test_unknown_commands_and_options_are_found():
    text = (
        "    segue try --no-serve  # x\n`segue tries`, `segue worker --port 1 | less`\nsegue is\n"
    )
    assert [unknown_words(line) for line in commands_of(text)] == [
        [], ["is"], ["tries"], ["--port"]
    ]  # fmt: skip


@pytest.mark.parametrize("page", NAMED, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_pages_exist(page: Path):
    lines = commands_of(page.read_text(), quoted=page.parent.name not in REPORTS)
    assert {line: unknown for line in lines if (unknown := unknown_words(line))} == {}


def test_most_pages_are_covered():
    assert sum(len(list(commands_of(page.read_text()))) for page in NAMED) > 200
