"""Hooks of the site: its navigation lists all decisions, warnings count, links stay on the site."""

import logging
import re
from pathlib import Path
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!adr/|schemas/)[^)#]+)(?:#[^)]*)?\)")


def on_startup(**_: Any) -> None:
    """Let `--quiet` hide no warning.

    MkDocs counts the warnings that `--strict` refuses in a handler of this logger. `--quiet` raises
    the level of the logger, so that a quiet strict build passed with broken links.
    """
    logger = logging.getLogger("mkdocs")
    logger.setLevel(min(logger.level, logging.WARNING))


def on_config(config: Any) -> None:
    """Replace the entry `adr/` of the navigation by the pages of that folder."""
    pages = sorted(Path(config.docs_dir, "adr").glob("*.md"))
    decisions = [f"adr/{page.name}" for page in pages]
    for section in config.nav:
        for entries in section.values():
            if isinstance(entries, list) and {"Decisions": "adr/"} in entries:
                entries[entries.index({"Decisions": "adr/"})] = {"Decisions": decisions}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page in which links to files outside docs/ are replaced by their paths."""
    inside = page.file.src_uri.startswith("adr/")

    def told(found: re.Match[str]) -> str:
        # From docs/adr one step up is docs/ itself.
        if inside and not found[0].split("](")[1].startswith("../../"):
            return found[0]
        return f"{found[1]} (`{found[2]}`)"

    return _OUTSIDE.sub(told, markdown)
