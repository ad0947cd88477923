"""The pages in a real Chromium: seen on a phone and on a desk, in light and dark, and by axe."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, Route

from console.health import Finding
from streams import (
    HoldingCheckpoint,
    Impression,
    Item,
    Reason,
    Receipt,
    ShownItem,
    Source,
    encode,
)
from tests.console.conftest import ready
from tests.console.readable import CHROMIUM, SIZES, check_readable
from tests.console.test_channels import (
    FIRST,
    ITS_FIRST,
    ITS_SECOND,
    SECOND,
    served_by,
    two_channels,
)
from tests.console.worlds import HEADERS, NOW, OWNER, SEER, Served, World, make_world, served
from tests.dynamic_layer.worlds import DAY_MS
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)

#: Page -> what is there once it is drawn.
PAGES = {
    "now": "#partitions table",
    "quality": "#prequential canvas",
    "user?user=user-03": "ol.places summary",
    "item?q=a+story": "td a",
    "item?type=audiobook&id=i21": "#demand canvas",
    "space": "#map canvas",
    "policies": "#checked .good",
    "letters": ".letters table",
    "checkpoints": "table",
}

#: Titles of two items, which no page may be widened or turned round by.
TITLES = ("The very long title of an episode " * 12 + "w" * 80, "ספר על (3) נושאים!")
TITLED = (("podcast", "i3"), ("audiobook", "i22"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory, items, bundles) -> Iterator[Served]:
    """A console with something on every page."""
    made = make_world(tmp_path_factory.mktemp("shown"), items, bundles)
    for bundle in bundles:
        made.announce(bundle)
    made.measured(days=12)
    made.decided(2)
    made.decided(3, "expected HR@10 of at least 0.225 on held-out examples, got <b>0.210</b>")
    made.refuse(Reason.MALFORMED, "JSON is malformed", '{"user_id": <b>1</b>')
    made.refuse(Reason.UNKNOWN_KIND, "kind: expected stream", "{}")
    for _ in range(2):
        made.refuse(Reason.FUTURE, "1702681200000 is ahead", '{"timestamp":1702681200000}')
    was_shown(made)
    for (item_type, item_id), title in zip(TITLED, TITLES, strict=True):
        item = Item(item_id=item_id, item_type=item_type, title=title)
        if item_type == "podcast":
            item = replace(item, genres=["satire", "news"], published_at=NOW - 20 * DAY_MS)
        made.log.append(made.settings.topics.catalogue, item.key, encode(item))
    with ready(made) as found:
        yield found


def was_shown(world: World) -> None:
    """Have forty users see two items; ten of them take the first, and five the second."""
    for n in range(40):
        rows = (7, 30)
        items = [
            ShownItem(item_id=world.items.item_ids[row], item_type=world.items.item_types[row],
                      position=position)
            for position, row in enumerate(rows, 1)
        ]  # fmt: skip
        seen = Impression(user_id=f"looker-{n}", items=items, timestamp=NOW - DAY_MS, list_id="mix")
        world.log.append(world.settings.topics.impressions, seen.key, encode(seen))
        if n % 4 == 0:
            world.listen(seen.user_id, rows[0], at=NOW - DAY_MS + 1_000)
        if n % 8 == 0:
            world.listen(seen.user_id, rows[1], at=NOW - 1_000)


@pytest.fixture
def page(browser: Browser, shown: Served, request) -> Iterator[Page]:
    """A tab whose errors fail the test."""
    width, height, scheme = SIZES[getattr(request, "param", "desk")]
    context = browser.new_context(
        base_url=shown.address, viewport={"width": width, "height": height}, color_scheme=scheme,
        reduced_motion="reduce",
    )  # fmt: skip
    found = context.new_page()
    found.set_default_timeout(1000 * PATIENCE_S)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    context.close()
    assert errors == []


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_every_page_is_readable(page: Page):
    page.goto(f"/#token={OWNER}")
    for path, sign in PAGES.items():
        page.goto(f"/#/{path}")
        page.locator(sign).first.wait_for()
        check_readable(page, re.sub(r"\W+", "-", path))


def test_hours_on_a_time_axis_say_their_day(page: Page):
    page.goto(f"/#token={OWNER}")
    page.goto("/#/user?user=user-03")
    page.locator("#history canvas, .chart canvas").first.wait_for()
    shown = """[...document.querySelectorAll('.chart')].map((one) => echarts.getInstanceByDom(one))
      .flatMap((one) => one?.getOption().xAxis ?? []).filter((axis) => axis.type === 'time')
      .map((axis) => axis.axisLabel.formatter.hour)"""
    assert page.evaluate(shown) == ["{HH}:{mm}\n{d} {MMM}"]


def test_the_token_leaves_the_address(page: Page):
    page.goto(f"/#token={OWNER}")
    page.locator("#partitions table").wait_for()
    assert OWNER not in page.url


def test_the_present_is_live(page: Page, shown: Served):
    page.goto(f"/#token={OWNER}")
    page.locator("#state", has_text=re.compile("^ready$")).wait_for()
    more = page.locator("dt", has_text="Records since start").locator("+ dd")
    before = int(more.inner_text())
    place = shown.world.listen("user-19", 5, 6, 7)
    shown.world.answer("user-19", place, 2)
    wait_until(lambda: int(more.inner_text()) == before + 3, "the events on the page")
    late = page.locator("dt", has_text="Latency p95").locator("+ dd")
    wait_until(lambda: late.inner_text() == "0 ms", "the answer on the page")
    page.get_by_text("Segue is healthy").wait_for()
    page.get_by_text(re.compile(r"^2023-12-15 22:13:20 UTC$")).wait_for()


def test_a_pause_holds_the_page_still(page: Page, shown: Served):
    page.goto(f"/#token={OWNER}")
    more = page.locator("dt", has_text="Records since start").locator("+ dd")
    page.locator("#partitions table").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused at 2023-12-15 22:13:20 UTC").wait_for()
    before = int(more.inner_text())
    shown.world.listen("user-18", 5)
    pages = shown.app.state.pages
    wait_until(lambda: pages.now()["records"] == before + 1, "the event in the console")
    # Paused, the page ignores what the server sends from here on.
    with page.expect_response("**/console/now"):
        page.evaluate("fetch('console/now')")
    assert int(more.inner_text()) == before
    page.get_by_role("button", name="Resume").click()
    wait_until(lambda: int(more.inner_text()) == before + 1, "the event on the page")


def test_a_spike_is_cut_off_and_marked(page: Page, shown: Served):
    series = shown.app.state.pages.recent.series
    rates = [7] * 30 + [900] + [7] * 20
    points = [
        {"time": 1_702_678_000 + 15 * n, "events": rate, "answers": 3.0, "p95_ms": 20.0, "lag": 0}
        for n, rate in enumerate(rates)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "points", lambda shown: points if shown == 3_600 else [])
        page.goto("/#/now")
        page.get_by_label("Time range").select_option("1 hour")
        page.get_by_text("A spike is cut off at 15; the highest is 900.").wait_for()
        end = "echarts.getInstanceByDom(document.querySelector('#rates')).getOption().yAxis[0].max"
        assert page.evaluate(end) == 15
        page.get_by_label("Time range").select_option("5 minutes")
        page.wait_for_function(f"{end} === null")


def test_health_names_what_is_wrong_and_the_runbook(page: Page, shown: Served):
    pages = shown.app.state.pages
    wrong = [Finding(level="warn", text="<b>3</b> % refused.", runbook="SegueManyDeadLetters")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("console.pages.findings", lambda _: wrong)
        patch.setattr(pages, "docs_url", "https://docs.example/segue/")
        page.goto("/#/now")
        page.get_by_text("<b>3</b> % refused.").wait_for()
        link = page.get_by_role("link", name="Runbook: SegueManyDeadLetters")
        expected = "https://docs.example/segue/runbook.html#seguemanydeadletters"
        assert link.get_attribute("href") == expected


def test_a_log_that_does_not_answer_is_said(page: Page, shown: Served):
    pages = shown.app.state.pages
    page.goto(f"/#token={OWNER}")
    alert = page.locator("#health").get_by_text("Kafka does not answer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "log_answers", False)
        alert.wait_for()
    alert.wait_for(state="detached")


def test_why_an_item_is_recommended(page: Page):
    page.goto(f"/#token={OWNER}")
    page.goto("/#/user?user=user-03")
    first, second = (page.locator("ol.places > li").nth(n) for n in range(2))
    # The reasons stand below the title, without a click.
    why = first.locator(".why")
    why.wait_for()
    assert re.match(r"Close to Title \d+ in the history \(cosine 0\.\d\d\)\. ", why.inner_text())
    assert re.search(r"Mostly: (two-tower model|recent demand)", why.inner_text())
    page.get_by_text("The bar is the share of the first item’s score.").wait_for()
    assert first.locator(".share").inner_text().strip() == "100 %"
    share = float(second.locator(".share").inner_text().strip(" %"))
    assert 0 < share <= 100
    first.locator("summary").click()
    first.get_by_text("two-tower model: +").wait_for()
    first.get_by_text("recent demand: +").wait_for()


def test_an_erasure_asks_first_and_shows_the_receipt(browser: Browser, tmp_path, items, bundles):
    made = make_world(tmp_path, items, bundles[:1])
    made.announce(bundles[0])
    with ready(made) as found:
        context = browser.new_context(base_url=found.address)
        page = context.new_page()
        page.goto(f"/#token={OWNER}")
        page.goto("/#/user?user=user-03")
        page.get_by_role("button", name="Erase this user").click()
        page.get_by_text('All data of the user "user-03" is removed').wait_for()
        page.get_by_role("button", name="Cancel").last.click()
        topic = made.settings.topics.events
        before = [made.log.end_offset(topic, partition) for partition in (0, 1)]
        page.get_by_role("button", name="Erase this user").click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text("this console’s copy of the state is erased").wait_for()
        [source] = [
            Source(topic=topic, partition=partition, offset=offset)
            for partition, offset in enumerate(before)
            if made.log.end_offset(topic, partition) > offset
        ]
        receipt = Receipt(
            user_sha256="0" * 64, source=source, position=source.offset + 1, held=True,
            created_at=1,
            checkpoints=[HoldingCheckpoint(name="c1", pruned_by=1_700_000_000_000)],
        )  # fmt: skip
        made.log.append(made.settings.topics.receipts, receipt.key, encode(receipt))
        page.get_by_text("A worker wrote the receipt.").wait_for()
        page.get_by_text("Older checkpoints are removed by 2023-11-14 22:13:20 UTC.").wait_for()
        context.close()


def test_an_erasure_needs_its_right(page: Page, shown: Served):
    page.goto(f"/#token={SEER}")
    page.goto("/#/user?user=user-04")
    page.get_by_text("No permission: the token lacks the right").wait_for()
    assert page.get_by_role("button", name="Erase this user").count() == 0


def test_an_item_opens_by_its_id(page: Page):
    page.goto("/#/item")
    page.get_by_label("Item type").fill("audiobook")
    page.get_by_label("Item id").fill("i21")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("A story about topic 3").wait_for()
    assert page.locator("#types option").count() == 2


def test_long_and_right_to_left_titles_stay_in_their_place(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/#token={OWNER}")
    for number, title in enumerate(TITLES):
        page.goto(f"/#/item?type={TITLED[number][0]}&id={TITLED[number][1]}")
        shown = page.locator("h2 bdi.title")
        shown.wait_for()
        assert shown.inner_text() == title
        lines = shown.evaluate(
            "e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)"
        )
        assert round(lines) <= 3
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


def test_by_keyboard_from_the_search_to_an_item(page: Page):
    page.goto("/#/item")
    page.get_by_label("Search by meaning").focus()
    page.keyboard.type("a story about topic 3")
    page.keyboard.press("Enter")
    page.locator("td a").first.wait_for()
    page.locator("td a").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Graph neighbours (same users)").wait_for()


def test_a_rollback_asks_first(page: Page, shown: Served):
    page.goto(f"/#token={OWNER}")
    page.goto("/#/quality")
    page.get_by_role("button", name="Roll back to g000000001").click()
    page.get_by_role("button", name="Cancel").last.click()
    page.get_by_role("button", name="Roll back to g000000001").click()
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("g000000001 is now served.").wait_for()
    with shown.client(headers=HEADERS) as client:
        assert client.get("/ready").json()["generation"] == 1
        # The page has followed: the way back has become the way forth.
        page.get_by_role("button", name="Serve the trainer’s newest again").click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text("g000000002 is now served.").wait_for()
        assert client.get("/ready").json()["generation"] == 2


def test_each_channel_has_its_own_way_back(browser: Browser, tmp_path, items, bundles):
    made = two_channels(make_world(tmp_path, items, bundles))
    with served(made) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: served_by(client) == (SECOND, ITS_SECOND), "both channels' bundles")
        context = browser.new_context(base_url=found.address)
        page = context.new_page()
        page.goto(f"/#token={OWNER}")
        now = page.get_by_role("region", name="Channels").locator("tbody tr")
        now.nth(1).get_by_text("deeper: 10 %").wait_for()
        page.goto("/#/quality")
        rows = page.get_by_role("region", name="Served bundles").locator("tbody tr")
        rows.nth(1).get_by_role("button", name=f"Roll back to {ITS_FIRST}").click()
        page.get_by_role("heading", name=f"Serve {ITS_FIRST} on channel next?").wait_for()
        assert "for the users of deeper" in page.locator("#confirm-text").inner_text()

        def pinned_but_not_loaded(route: Route) -> None:
            said = route.fetch().json()
            said[1] |= {"pinned": ITS_FIRST, "served": ITS_SECOND}
            route.fulfill(json=said)

        page.route("**/v1/channels", pinned_but_not_loaded, times=1)
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text(f"{ITS_FIRST} is now served on channel next.").wait_for()
        assert served_by(client) == (SECOND, ITS_FIRST)
        # Any bundle can be pinned on any channel.
        page.get_by_label("Channel to pin a bundle on").select_option("next")
        all_of_them = page.get_by_role("region", name="Generations").locator("tbody tr")
        all_of_them.filter(has_text=re.compile(f"^{FIRST}[^-]")).get_by_role("button").click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text(f"{FIRST} is now served on channel next.").wait_for()
        assert served_by(client) == (SECOND, FIRST)
        page.set_viewport_size({"width": 390, "height": 844})
        # Charts learn of their new width a moment later.
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        context.close()
    made.log.close()


def test_click_through_stands_by_position_with_its_interval(page: Page):
    page.goto("/#/quality")
    table = page.get_by_role("region", name="Click-through by position")
    table.wait_for()
    assert table.locator("tbody tr").all_inner_texts() == [
        "1\t40\t10\t25 %\t14.2 % to 40.2 %", "2\t40\t5\t12.5 %\t5.5 % to 26.1 %"
    ]  # fmt: skip
    by_list = page.get_by_role("region", name="Click-through by list").locator("tbody tr")
    assert by_list.all_inner_texts() == ["mix\t80\t15\t18.8 %\t11.7 % to 28.7 %"]
    said = page.locator("#click-through-said").inner_text()
    assert said == "Highest at position 1: 25 % of 40 (95 % interval 14.2 % to 40.2 %)."


def test_what_was_served_stands_beside_popularity_by_day_and_by_bundle(page: Page):
    page.goto("/#/quality")
    table = page.get_by_role("region", name="Prequential HR@10")
    table.wait_for()
    assert table.locator("tbody tr").count() == 12 * 2
    newest = table.locator("tbody tr").first.locator("td").all_inner_texts()
    assert newest[0] == "2023-12-15"
    assert newest[1:4] == ["podcast", "default", "400"]
    assert re.fullmatch(r"0\.2\d\d ± 0\.04\d", newest[4])
    assert newest[5] == "0.120"
    said = page.locator("#prequential-said")
    assert "Newest (2023-12-15): audiobook 0." in said.inner_text()
    # By keyboard: the first box chooses what a point is.
    page.get_by_label("One point per").focus()
    page.keyboard.press("ArrowDown")
    wait_until(lambda: table.locator("tbody tr").count() == 2 * 2, "a row for each bundle and type")
    assert table.locator("tbody td").first.inner_text() == "2"
    assert "Newest (2): audiobook" in said.inner_text()


def test_a_difference_within_its_margin_has_no_colour(page: Page, shown: Served):
    quality = shown.app.state.quality
    row = {
        "day": "2023-12-15",
        "item_type": "song",
        "arm": "default",
        "generation": 2,
        "examples": 400,
    }
    rows = [
        row | {"hr_at_10": hr, "mrr": 0.1, "popularity_hr_at_10": 0.15, "popularity_mrr": 0.1}
        for hr in (0.08, 0.14, 0.16, 0.24)
    ]

    async def view() -> dict[str, Any]:
        return {"days": rows, "bundles": rows, "decisions": [], "problem": None}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "view", view)
        page.goto("/#/quality")
        cells = page.get_by_role("region", name="Prequential HR@10").locator("td:nth-child(7) span")
        cells.first.wait_for()
        assert cells.all_inner_texts() == ["▲ +0.090", "≈ +0.010", "≈ −0.010", "▼ −0.070"]
        classes = [cell.get_attribute("class") for cell in cells.all()]
        assert classes == ["good", "soft", "soft", "bad"]


def test_each_figure_has_its_own_name(page: Page):
    page.goto("/#/quality")
    page.get_by_role("region", name="Generations").wait_for()
    heads = page.locator("th").all_inner_texts()
    for figure in ("HR@10", "NDCG", "MRR"):
        named = [head for head in heads if figure in head]
        assert named
        assert figure not in named


def test_a_wide_table_says_so_until_its_end(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/#/quality")
    place = page.get_by_role("region", name="Prequential HR@10")
    place.wait_for()
    page.wait_for_function("e => e.classList.contains('more')", arg=place.element_handle())
    place.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    page.wait_for_function("e => !e.classList.contains('more')", arg=place.element_handle())


def test_a_long_table_says_so_until_its_end(page: Page):
    page.goto("/#/quality")
    place = page.get_by_role("region", name="Prequential HR@10")
    place.wait_for()
    hint = "e => getComputedStyle(e.parentElement, '::after').content"
    if not place.evaluate("e => e.scrollHeight > e.clientHeight"):
        place.evaluate("e => { e.style.maxHeight = '4rem'; dispatchEvent(new Event('resize')); }")
    page.wait_for_function("e => e.classList.contains('below')", arg=place.element_handle())
    assert place.evaluate(hint) == '"scroll for more ↓"'
    place.evaluate("e => { e.scrollTop = e.scrollHeight; }")
    page.wait_for_function("e => !e.classList.contains('below')", arg=place.element_handle())
    assert place.evaluate(hint) == "none"


def test_the_map_is_coloured_by_type_genre_or_age(page: Page):
    page.goto("/#/space")
    said = page.locator("#groups")
    page.get_by_text("audiobook: 60; podcast: 60").wait_for()
    page.get_by_label("Colour by").select_option("genre (the first)")
    assert said.inner_text() == "no genre: 119; satire: 1"
    page.get_by_label("Colour by").select_option("age")
    assert said.inner_text() == "8 to 30 days old: 1; age unknown: 119"


def test_the_gates_reasons_are_read_as_text(page: Page):
    page.goto("/#/quality")
    rows = page.get_by_role("region", name="Decisions of the gate").locator("tbody tr")
    rows.first.wait_for()
    refused, published = rows.all_inner_texts()
    assert "✕ refused" in refused
    assert "got <b>0.210</b>" in refused
    assert "0.250 (g000000001)" in refused
    assert "✓ published" in published


def test_a_store_that_cannot_be_read_is_said_and_hides_no_bundle(page: Page, shown: Served):
    def broken(_: str) -> bytes:
        raise OSError("no route to the store")

    quality = shown.app.state.quality
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality._quality, "decisions", lambda: broken(""))
        patch.setattr(quality, "_read_at", None)
        page.goto("/#/quality")
        page.get_by_role("alert").get_by_text("The artifact store cannot be read").wait_for()
        page.get_by_role("region", name="Generations").wait_for()
        patch.setattr(quality, "_read_at", None)
    quality._read_at = None


def test_without_a_token_it_says_what_to_do(page: Page):
    page.goto("/#/letters")
    page.get_by_role("heading", name="Enter token").wait_for()
    page.get_by_role("button", name="Enter token").click()
    page.get_by_label("Token", exact=True).last.fill(OWNER)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("JSON is malformed").wait_for()
    # What came from outside is text.
    page.locator("summary").first.click()
    assert page.locator("pre b").count() == 0


def test_dead_letters_are_grouped_with_a_fix_for_each_reason(page: Page):
    page.goto(f"/#token={OWNER}")
    page.goto("/#/letters")
    groups = page.locator("section.letters")
    groups.first.wait_for()
    assert groups.locator("h2").all_inner_texts() == [
        "Time ahead of the log (future): 2 letters",
        "Invalid JSON or Avro (malformed): 1 letter",
        "Unknown kind of event (unknown_kind): 1 letter",
    ]
    first = groups.first
    first.get_by_text("Correct the clock of the device").wait_for()
    first.get_by_text("SegueManyDeadLetters").wait_for()
    # Times and sizes as people read them; the record's own digits stay in sight.
    first.get_by_text("0 s ago").first.wait_for()
    first.get_by_text("1702681200000 (2023-12-15 23:00:00 UTC)").first.wait_for()
    first.locator("summary").first.click()
    assert '"timestamp": 1702681200000' in first.locator("pre").first.inner_text()


def test_an_empty_world_is_explained(browser: Browser, tmp_path, items):
    made = make_world(tmp_path, items, [])
    with served(made) as found:
        context = browser.new_context(base_url=found.address)
        page = context.new_page()
        page.goto(f"/#token={OWNER}")
        page.get_by_text("No bundle is served yet").wait_for()
        page.goto("/#/quality")
        page.get_by_text("No bundle yet.").wait_for()
        page.get_by_text("No measurements yet.").wait_for()
        page.get_by_text("None yet: the gate evaluates").wait_for()
        page.goto("/#/space")
        page.get_by_text("no bundle is loaded yet").wait_for()
        page.goto("/#/letters")
        page.get_by_text("None: all records are applied.").wait_for()
        page.goto("/#/checkpoints")
        page.get_by_text("None yet: a worker writes them").wait_for()
        context.close()
    made.log.close()


def test_what_comes_from_outside_neither_widens_a_page_nor_becomes_part_of_it(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/#token={OWNER}")
    page.goto("/#/item?type=podcast&id=" + "%3Cb%3E%2F%C3%BC" + "w" * 200)
    said = page.locator("#found p.empty")
    said.wait_for()
    assert "<b>/ü" in said.inner_text()
    assert page.locator("form [name=q]").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_slow_page_does_not_draw_over_the_next(page: Page):
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/console/space", hold)
    page.goto(f"/#token={OWNER}")
    page.goto("/#/space")
    page.get_by_text("Loading").wait_for()
    page.goto("/#/letters")
    page.locator("h1", has_text="Dead letters").wait_for()
    with page.expect_response("**/console/space"):
        held[0].continue_()
    # What came before it has been drawn by the time that this has come.
    assert page.evaluate("fetch('/health').then((answer) => answer.ok)")
    assert page.locator("h1").all_inner_texts() == ["Dead letters"]
