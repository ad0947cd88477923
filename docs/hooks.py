"""Links of the pages to files beside docs/, which the site does not have, become their paths."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!adr/|schemas/)[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page whose links stay on the site."""
    inside = page.file.src_uri.startswith("adr/")

    def told(found: re.Match[str]) -> str:
        # From docs/adr one step up is docs/ itself.
        if inside and not found[0].split("](")[1].startswith("../../"):
            return found[0]
        return f"{found[1]} (`{found[2]}`)"

    return _OUTSIDE.sub(told, markdown)
