"""The picture of the console in README: what it shows, how it is made, and when it is out of date.

    python -m tests.console.picture      # makes it again

The page of a user is drawn from a real console. `OUTLINE` holds what the pictures were made from:
each kind of element with its style, and the texts that do not depend on data. A test draws the page
and compares that, not pixels, which differ between machines.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from streams import Item, encode
from tests.console.conftest import ready
from tests.console.readable import CHROMIUM
from tests.console.worlds import (
    NOW,
    OWNER,
    Served,
    World,
    make_bundles,
    make_world,
    small_items,
)
from tests.dynamic_layer.worlds import DAY_MS

PICTURES = Path(__file__).parents[2] / "docs" / "images"
OUTLINE = Path(__file__).with_name("picture.txt")
SCHEMES = ("light", "dark")
SIZE = {"width": 1280, "height": 800}
USER = "user-03"

#: Users of the same subject, so that items have users in common.
OTHERS = ("user-09", "user-15", "user-21", "user-27")

SUBJECTS = (
    "sourdough", "black holes", "the Silk Road", "trail running", "modern jazz", "small gardens",
)  # fmt: skip
FORMS = {
    "podcast": (
        "The {} hour", "Ten minutes on {}", "Ask me about {}", "Letters about {}", "Why {}?",
        "{}: the week", "Two friends and {}", "Notes on {}", "{} at night", "Everyday {}",
    ),
    "audiobook": (
        "A short history of {}", "{} for beginners", "The {} handbook", "All about {}",
        "A year of {}", "The art of {}", "Thinking about {}", "Lessons from {}",
        "{} in a hundred pages", "The best of {}",
    ),
}  # fmt: skip
#: Hours before now, and which item of the subject, of the user's events.
HISTORY = ((70, 4), (52, 9), (47, 1), (29, 12), (26, 17), (8, 3), (5, 14), (1, 7))

_KINDS = """() => {
  const found = {};
  const name = (e) => e.localName + [...e.classList].map((c) => "." + c).join("");
  for (const element of document.querySelectorAll("header, header *, main *")) {
    const path = [];
    for (let e = element; e !== document.body; e = e.parentElement) path.unshift(name(e));
    const style = getComputedStyle(element);
    const own = ["h1", "h2", "button", "label", "dt", "th"].includes(element.localName)
      ? JSON.stringify([...element.childNodes].filter((n) => n.nodeType === 3)
          .map((n) => n.data.trim()).join(" ").replace(/[0-9]+/g, "0")) : "";
    const styles = ["display", "color", "background-color", "font-size", "font-weight", "padding",
      "border-top-color", "border-radius"].map((s) => style.getPropertyValue(s));
    found[[path.join(" "), own, ...styles].filter(Boolean).join(" | ")] = true;
  }
  return Object.keys(found).sort();
}"""


def titled(world: World) -> None:
    """Give the items titles that people would read, and the user a history of some days."""
    items = world.items
    seen: dict[tuple[int, str], int] = {}
    for row, (item_type, item_id) in enumerate(zip(items.item_types, items.item_ids, strict=True)):
        subject = int(items.topic[row])
        number = seen.setdefault((subject, item_type), 0)
        seen[subject, item_type] += 1
        forms = FORMS[item_type]
        title = forms[number % len(forms)].format(SUBJECTS[subject])
        item = Item(item_id=item_id, item_type=item_type, title=title[0].upper() + title[1:])
        world.log.append(world.settings.topics.catalogue, item.key, encode(item))
    own = [row for row, topic in enumerate(items.topic) if topic == int(USER[-2:]) % len(SUBJECTS)]
    for hours, number in HISTORY:
        row = own[number % len(own)]
        world.listen(USER, row, at=NOW - hours * DAY_MS // 24)
    for number, user in enumerate(OTHERS):
        for step in range(12):
            world.listen(user, own[(5 * number + step) % len(own)], at=NOW - DAY_MS)


@contextmanager
def pictured(folder: Path, items=None, bundles=None) -> Iterator[Served]:
    """Serve the world of the picture from a folder."""
    items = items or small_items()
    bundles = bundles or make_bundles(items)
    world = make_world(folder, items, bundles)
    titled(world)
    for bundle in bundles:
        world.announce(bundle)
    with ready(world) as served:
        yield served


@contextmanager
def page_of(browser: Browser, served: Served, scheme: str) -> Iterator[Page]:
    """Open the page of the picture, drawn to its end."""
    context = browser.new_context(
        base_url=served.address, viewport=SIZE, color_scheme=scheme, reduced_motion="reduce"
    )
    # The page alone: one that was drawn before it may leave something in the header.
    context.add_init_script(f"sessionStorage.setItem('segue-token', '{OWNER}')")
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"/#/user?user={USER}")
    page.locator("#line canvas").wait_for()
    yield page
    context.close()


def outline(page: Page, scheme: str) -> list[str]:
    """Return what the page's look is made of: kinds of elements, their styles, fixed texts."""
    kinds: list[str] = page.evaluate(_KINDS)
    # Whether one item of the list is new, or was had by other users, is a matter of data.
    return [f"{scheme}: {kind}" for kind in kinds if not re.search(r"canvas|<", kind)]


def main() -> None:
    """Make the pictures and their outline again."""
    PICTURES.mkdir(exist_ok=True)
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        pictured(Path(folder)) as served,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for scheme in SCHEMES:
            with page_of(browser, served, scheme) as page:
                page.screenshot(path=PICTURES / f"console-{scheme}.png")
                lines += outline(page, scheme)
        browser.close()
    OUTLINE.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
