"""The policies page and the takedown of an item, in a real Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from streams import Item, encode
from tests.console.conftest import ready
from tests.console.readable import CHROMIUM, SIZES, check_readable
from tests.console.test_policies import GOOD, stocked
from tests.console.worlds import HEADERS, OWNER, SEER, Served, make_world
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, items, bundles) -> Iterator[Served]:
    made = stocked(make_world(tmp_path_factory.mktemp("shop"), items, bundles))
    made.announce(bundles[0])
    with ready(made) as found:
        policies = found.app.state.replica.channels.policies
        wait_until(policies.catalogue_read.is_set, "the attributes of the catalogue")
        yield found


@pytest.fixture
def page(browser: Browser, shop: Served) -> Iterator[Page]:
    context = browser.new_context(base_url=shop.address, reduced_motion="reduce")
    found = context.new_page()
    found.set_default_timeout(1000 * PATIENCE_S)
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("console", lambda said: errors.append(said.text) if "Content Sec" in said.text else 0)
    yield found
    context.close()
    assert errors == []


def test_a_policy_is_completed_checked_previewed_applied_and_undone(page: Page, shop: Served):
    expect.set_options(timeout=1000 * PATIENCE_S)
    page.goto(f"/#token={OWNER}")
    page.goto("/#/policies?list=mix")
    area, checked = page.get_by_label("Policy in TOML"), page.locator("#checked")
    expect(checked).to_contain_text("Valid")
    expect(page.get_by_role("button", name="Apply")).to_be_disabled()

    # A mistake is named while it is typed, and found by a click.
    area.fill('list = "mix"\ndiversity = 0\nfilter = "item.stok > 0"')
    expect(checked).to_contain_text("there is no 'item.stok'")
    expect(area).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Line 3, column 11").click()
    assert area.evaluate("area => area.selectionStart") == area.input_value().index("item.stok")

    # Completion by keyboard: the attribute, and the rule of a table.
    area.fill("")
    area.press_sequentially('list = "mix"\nfilter = "it')
    page.keyboard.press("Tab")
    area.press_sequentially("st")
    option = page.get_by_role("option", name="item.stock number")
    option.wait_for()
    check_readable(page, "policies-completion")
    page.keyboard.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    area.press_sequentially(' > 0"\n[[ca')
    page.keyboard.press("Tab")
    area.press_sequentially(']]\nattribute = "cre')
    page.get_by_role("option", name="creator text").click()
    area.press_sequentially('"\nmost = 2\n')
    assert area.input_value() == GOOD
    expect(checked).to_contain_text("Valid")

    for width, height, scheme in SIZES.values():
        # Another theme draws the page again: what was written stays.
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        expect(checked).to_contain_text("Valid")
        page.get_by_label("Users", exact=True).fill("user-03 user-04")
        page.get_by_label("Further users at random").fill("3")
        page.get_by_role("button", name="Preview").click()
        page.get_by_role("region", name="Lists of 5 users").wait_for()
        page.get_by_role("region", name="mix of user-04").locator("a").first.wait_for()
        check_readable(page, "policies-preview")
    assert area.input_value() == GOOD

    page.get_by_label("Author").fill("<b>Ann</b>")
    page.get_by_label("Comment").fill("only <i>stock</i>")
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("All workers and consoles follow it").wait_for()
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Applied as version 1.").wait_for()
    row = page.get_by_role("region", name="Versions of the policy").locator("tbody tr").first
    expect(row).to_contain_text("<b>Ann</b> (do-all)")
    expect(row).to_contain_text("only <i>stock</i>")

    # Another person changes it meanwhile: nothing is overwritten, and nothing written here is lost.
    with shop.client(headers=HEADERS) as client:
        made = client.post("/v1/policies", json={"text": GOOD + "[fresh]\n", "after": 1})
        assert made.status_code == 202
    area.fill(GOOD.replace("= 2", "= 3"))
    page.get_by_label("Comment").fill("three")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Failed: the newest version of the policy of mix is 2 by do-all").wait_for()
    assert area.input_value() == GOOD.replace("= 2", "= 3")

    page.reload()  # as after the message, and without what was written
    page.get_by_role("button", name="Undo version 2").click()
    page.get_by_role("button", name="Confirm").click()
    page.get_by_text("Undone as version 3.").wait_for()
    assert area.input_value().replace("\n\n", "\n") == GOOD


def test_new_items_that_lists_explore_stand_on_the_quality_page(page: Page, shop: Served):
    new = Item(item_id="<i>new", item_type="podcast", title="Fresh & <b>new", description="topic 1")
    shop.world.log.append(shop.world.settings.topics.catalogue, new.key, encode(new))
    with shop.client(headers=HEADERS) as client:
        text = 'list = "fresh"\n[explore]\nshare = 0.02\ngraduate = 50\n'
        assert client.post("/v1/policies", json={"text": text, "after": 0}).status_code == 202
    app = shop.app.state
    wait_until(lambda: "fresh" in app.replica.channels.policies.in_force.policies.by_list, "policy")
    wait_until(lambda: app.serving.recommends("podcast", "<i>new"), "the new item")

    page.goto("/#/quality")
    table = page.get_by_role("region", name="New items of fresh")
    table.wait_for()
    assert page.get_by_text("2 % of the first 10 places go to items").count() == 1
    [row] = table.locator("tbody tr").all()
    item, kind, shown, taken, expected, part = row.locator("td").all_inner_texts()
    assert (item, kind, shown, taken, part) == ("<i>new", "podcast", "0", "0", "100 %")
    assert 0 < float(expected.removesuffix(" %")) < 100
    for width, height, scheme in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        check_readable(page, f"exploration-{width}")


def test_without_the_right_policies_are_neither_seen_nor_changed(page: Page):
    page.goto(f"/#token={SEER}")
    page.goto("/#/policies")
    page.get_by_text("lacks the right 'read_policies'").wait_for()
    page.goto("/#/item?type=audiobook&id=i21")
    page.get_by_text("this takes a token with the right items").wait_for()
    assert page.get_by_role("button", name="Take down").count() == 0


def test_a_takedown_asks_first_and_is_followed(page: Page, shop: Served):
    page.goto(f"/#token={OWNER}")
    page.goto("/#/item?type=audiobook&id=i23")
    button = page.get_by_role("button", name="Take down this item")
    button.click()
    page.get_by_text('The audiobook "i23" (Title').wait_for()
    page.get_by_role("button", name="Cancel").last.click()
    with shop.client(headers=HEADERS) as client:
        where = {"type": "audiobook", "id": "i23"}
        assert client.get("/v1/item", params=where).json()["recommendable"]
        button.click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text("No list that is made from now on has it").wait_for()
        assert client.get("/v1/item", params=where).json().get("recommendable", False) is False
        ask = {"user": "user-05", "k": 100, "repeats": "include"}
        listed = client.get("/v1/recommendations", params=ask).json()["items"]
        assert listed
        assert ("audiobook", "i23") not in {(i["item_type"], i["item_id"]) for i in listed}
