"""The mapping of a topic of items, guessed from its records, and the page's examples of one."""

import json
import re
from pathlib import Path

import pytest

from segue.item_mapping_guess import guessed_source, source_toml
from segue.settings import load_settings
from streams import (
    DeletedMapping,
    Item,
    ItemDecoder,
    ItemSourceSettings,
    Record,
    SourceError,
    User,
    UserDecoder,
    ValueMapping,
)

PAGES = Path(__file__).parents[2] / "docs"
PAGE = (PAGES / "foreign-items.md").read_text()


def records(*rows, key=b"k"):
    return [Record("shop", 0, at, at, key, json.dumps(row).encode()) for at, row in enumerate(rows)]


def settings_of(folder, text):
    (folder / "segue.toml").write_text(text)
    return load_settings(folder / "segue.toml").item_sources


def test_a_change_stream_is_read_after_the_change(tmp_path):
    rows = [
        {
            "op": "u",
            "before": {"sku": 1, "name": "Old"},
            "after": {
                "sku": number,
                "name": "New",
                "released": 1_767_225_600_250_000,
                "in.stock": 3,
            },
            "source": {"name": "db", "table": "products"},
        }
        for number in range(3)
    ]
    source = guessed_source("shop", records(*rows))
    assert source == ItemSourceSettings(
        topic="shop", item_id="after.sku", item_type=ValueMapping(default="item"),
        title="after.name", description="", language="", genres="", published_at="after.released",
        published_unit="us", attributes={"in.stock": r"after.in\.stock"}, attribute_object="",
        deleted=DeletedMapping(field="op", values=("d",)),
    )  # fmt: skip
    # What is shown can be pasted, and reads the records.
    assert settings_of(tmp_path, source_toml(source)) == (source,)
    found, letters = ItemDecoder(source)(records(*rows))
    assert letters == []
    assert found[2].item == Item(
        item_id="2", item_type="item", title="New", published_at=1_767_225_600_250,
        attributes={"in.stock": 3},
    )  # fmt: skip


def test_plain_records_without_an_id_have_it_as_their_key(tmp_path):
    source = guessed_source("shop", records({"headline": "H", "type": "post", "price": 2}))
    assert (source.item_id, source.title, source.keyed_by_item) == ("", "headline", True)
    assert source.item_type == ValueMapping(field="type")
    assert source.attributes == {"price": "price"}
    assert settings_of(tmp_path, source_toml(source)) == (source,)
    with pytest.raises(SourceError, match="no field of shop looks like an item id"):
        guessed_source("shop", records({"headline": "H"}, key=None))
    for value in (b"\0", b"{}", b'{"": 1}'):
        with pytest.raises(SourceError, match="none of the newest 1 records"):
            guessed_source("shop", [Record("shop", 0, 0, 0, b"k", value)])


def test_fields_whose_names_no_attribute_can_have_are_renamed_or_left_out(tmp_path):
    rows = records({"sku": "1", "price:eur": 2, "a=b": 3, "x" * 65: 4})
    source = guessed_source("shop", rows)
    assert source.attributes == {"price_eur": "price:eur", "a_b": "a=b"}
    assert settings_of(tmp_path, source_toml(source)) == (source,)
    [(_, item)], letters = ItemDecoder(source)(rows)
    assert (item.attributes, letters) == ({"price_eur": 2, "a_b": 3}, [])


def test_the_examples_of_the_page_load_and_read_its_record(tmp_path):
    stream, plain = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    [source] = settings_of(tmp_path, stream)
    [shown] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    rows = [Record(source.topic, 0, 0, 0, b'{"sku": 81}', shown.encode())]
    [(_, item)], letters = ItemDecoder(source)(rows)
    assert letters == []
    assert item == Item(
        item_id="81", item_type="book", title="The Trial", description="A man is arrested.",
        genres=["novel"], published_at=1_767_225_600_250,
        attributes={"stock": 3, "markets": ["de", "at"]},
    )  # fmt: skip
    [articles] = settings_of(tmp_path, plain)
    [(_, item), (_, gone)], _ = ItemDecoder(articles)(
        records({"headline": "H", "published": "2026-01-01"}, {"status": "draft"}, key=b"a1")
    )
    assert (item.item_id, item.published_at, gone.deleted) == ("a1", 1_767_225_600_000, True)
    assert settings_of(tmp_path, f"{stream}\n{plain}") == (source, articles)


def test_the_examples_of_users_load_and_read_the_record_of_their_page(tmp_path):
    page = (PAGES / "foreign-users.md").read_text()
    stream, plain = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "segue.toml").write_text(f"{stream}\n{plain}")
    crm, accounts = load_settings(tmp_path / "segue.toml").user_sources
    [shown] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    [(_, user)], letters = UserDecoder(crm)([Record("crm", 0, 0, 0, b"{}", shown.encode())])
    assert letters == []
    assert user == User(user_id="17", country="AT", birth_year=1980, attributes={"plan": "pro"})
    [(_, user)], _ = UserDecoder(accounts)(records({"profile": {"plan": "pro"}}, key=b"ann"))
    assert user == User(user_id="ann", attributes={"plan": "pro"})
