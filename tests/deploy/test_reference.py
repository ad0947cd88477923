"""Pages that are made of the code are what the code would make now."""

import re
from pathlib import Path

import pytest

from segue import metrics_page, settings_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("made", [settings_page, metrics_page], ids=lambda m: m.__name__)
def test_the_page_is_up_to_date(made):
    name = made.FILE.name
    assert (DOCS / name).read_text() == made.page(), f"run: python -m {made.__name__}"


def test_every_setting_is_explained():
    """Either in the docstring of its group, field by field, or by a group that says it all."""
    silent = [
        line for line in settings_page.page().splitlines()
        if line.startswith("| `") and line.endswith("|  |")
    ]  # fmt: skip
    assert silent == []


def test_every_description_of_a_setting_is_whole():
    """A description that goes on in the next row, or is cut after a line, ends without a stop."""
    lines = settings_page.page().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    abouts = [lines[n + 1] for n, line in enumerate(lines) if line.startswith("## ")]
    texts = [re.split(r" (?<!\\)\| ", row.removesuffix(" |"), maxsplit=3)[3] for row in rows]
    assert len(texts) > 200
    assert [text for text in texts + abouts if not text.rstrip(")").endswith((".", "..."))] == []
