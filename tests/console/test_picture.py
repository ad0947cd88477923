"""The picture in README shows the console as it is."""

import struct

import pytest
from playwright.sync_api import sync_playwright

from tests.console.picture import (
    CHROMIUM,
    OUTLINE,
    PICTURES,
    SCHEMES,
    SIZE,
    outline,
    page_of,
    pictured,
)

AGAIN = "The page has changed. Make its picture again: python -m tests.console.picture"


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_picture_is_of_the_page_as_it_is(tmp_path, items, bundles):
    found = []
    with pictured(tmp_path, items, bundles) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in SCHEMES:
            with page_of(browser, served, scheme) as page:
                found += outline(page, scheme)
        browser.close()
    assert found == OUTLINE.read_text().splitlines(), AGAIN


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_picture_has_its_size(scheme):
    picture = (PICTURES / f"console-{scheme}.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (SIZE["width"], SIZE["height"])
    assert len(picture) < 250_000
