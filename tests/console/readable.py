"""What every page of the console has to be: as wide as the window, and without findings of axe."""

import shutil
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SCREENSHOTS = Path(__file__).parents[2] / "var" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: Width, height and theme of the windows in which pages are looked at.
SIZES = {
    "phone": (390, 844, "dark"),
    "desk": (1440, 900, "light"),
    "phone in light": (390, 844, "light"),
    "desk in dark": (1440, 900, "dark"),
}


def check_readable(page: Page, name: str) -> None:
    """Take a screenshot, and check that a page fits its window and axe finds nothing serious."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    file = f"{name}-{page.viewport_size['width']}-{'dark' if dark else 'light'}.png"
    page.screenshot(path=SCREENSHOTS / file, full_page=True)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{name} is {wide} px too wide"
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, [(name, v["id"], v["nodes"][0]["html"]) for v in serious]
