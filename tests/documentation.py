"""The shell blocks of Markdown pages, for the tests that run them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ShellBlock", "shell_blocks"]

#: What the first line of an indented block for the shell begins with; tables begin otherwise.
PROGRAMS = (
    "pip ",
    "make ",
    "export ",
    "segue ",
    ".venv/bin/",
    "git ",
    "docker ",
    "kubectl ",
    "curl ",
)
FENCES = ("```bash", "```console", "```sh", "```shell")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class ShellBlock:
    """Commands between the words of a page.

    line:   of the page, of its first command. text: the commands, as a reader copies them.
    reason: why no test runs them, as the comment before the block says; empty if tests run them.
    """

    page: str
    line: int
    text: str
    reason: str

    @property
    def place(self) -> str:
        """Where to find it."""
        return f"{self.page}:{self.line}"


def shell_blocks(page: Path) -> list[ShellBlock]:
    """Return the shell blocks of a page in order: fenced ones, and indented ones that are such.

    A comment `<!-- not run: reason -->` right before a block excepts it.
    """
    return list(_blocks(page.name, page.read_text().splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[ShellBlock]:
    at, reason = 0, ""
    while at < len(lines):
        line = lines[at]
        if found := _NOT_RUN.fullmatch(line.strip()):
            reason = found[1]
        elif line.startswith("```"):
            end = next(n for n in range(at + 1, len(lines)) if lines[n].startswith("```"))
            if line.strip() in FENCES:
                text = "\n".join(lines[at + 1 : end])
                yield ShellBlock(page=page, line=at + 2, text=text, reason=reason)
            at, reason = end, ""
        elif line.startswith("    "):
            end = next((n for n in range(at, len(lines)) if lines[n][:4].strip()), len(lines))
            if line[4:].startswith(PROGRAMS):
                text = "\n".join(part[4:] for part in lines[at:end]).rstrip()
                yield ShellBlock(page=page, line=at + 1, text=text, reason=reason)
            at, reason = end - 1, ""
        elif line.strip():
            reason = ""
        at += 1
