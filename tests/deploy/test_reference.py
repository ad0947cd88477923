"""Pages that are made of the code are what the code would make now."""

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
