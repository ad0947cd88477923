"""Builds the site in var/site: `python docs/make_site.py`. A warning is an error.

Zensical runs no hooks, so this script prepares a copy of docs/ for it in var/site-source:

- the entry `adr/` of the navigation becomes the pages of that folder;
- links to files outside docs/ become their paths, because the site does not have these files.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "var" / "site-source"
SITE = ROOT / "var" / "site"
DECISIONS = '"adr/"'
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!adr/|schemas/|images/)[^)#]+)(?:#[^)]*)?\)")


def main() -> int:
    """Prepare the copy and build it; returns the status of Zensical."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(ROOT / "docs", SOURCE / "docs", ignore=shutil.ignore_patterns("*.py", "__py*"))
    for page in (SOURCE / "docs").rglob("*.md"):
        inside = page.parent.name == "adr"
        page.write_text(linked(page.read_text(), inside=inside))
    settings = (ROOT / "zensical.toml").read_text()
    (SOURCE / "zensical.toml").write_text(with_decisions(settings, ROOT / "docs" / "adr"))
    command = ["zensical", "build", "--strict", "--clean", "-f", "zensical.toml"]
    program = Path(sys.executable).with_name(command[0])
    status = subprocess.run([program, *command[1:]], cwd=SOURCE, check=False).returncode  # noqa: S603
    if status == 0:
        shutil.rmtree(SITE, ignore_errors=True)
        (SOURCE / "site").rename(SITE)
    return status


def linked(markdown: str, *, inside: bool) -> str:
    """Return a page in which links to files outside docs/ are replaced by their paths.

    inside: the page is in a folder of docs/, from which one step up is docs/ itself.
    """

    def told(found: re.Match[str]) -> str:
        if inside and not found[0].split("](")[1].startswith("../../"):
            return found[0]
        return f"{found[1]} (`{found[2]}`)"

    return _OUTSIDE.sub(told, markdown)


def with_decisions(settings: str, folder: Path) -> str:
    """Return settings whose navigation lists all decisions. Raises ValueError without an entry."""
    if settings.count(DECISIONS) != 1:
        raise ValueError(f"zensical.toml: expected one entry {DECISIONS} in the navigation")
    pages = sorted(folder.glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
    listed = ", ".join(f'"adr/{page.name}"' for page in pages)
    return settings.replace(DECISIONS, f"[{listed}]")


if __name__ == "__main__":
    sys.exit(main())
