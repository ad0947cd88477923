"""segue policy: files, versions and attributes, without a broker; previews side by side."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from agents.policies import PolicyBook
from agents.policy_preview import compared
from agents.policy_text import PolicyFile
from agents.policy_versions import (
    AttributeTypes,
    before,
    checked,
    difference,
    fault_of,
    in_force,
    newest_of,
)
from dynamic_layer import ListSettings, PolicyError, UserState, rules_of
from dynamic_layer.serving.rankings import ItemNames, Ranking
from segue.catalogue_file import CatalogueError, read_catalogue
from segue.cli import app
from segue.commands.policy import _show_effects
from segue.policies import read_file
from streams import Item, ListPolicy, Record, decode, encode

POLICY = """
list = "mix"
filter = "item.stock > 0"
[[cap]]
attribute = "creator"
most = 2
"""


def file(tmp_path, text):
    found = tmp_path / "policy.toml"
    found.write_text(text)
    return found


def said(version, rules):
    return ListPolicy(list="mix", version=version, author="a", created_at=1, rules=rules)


def record(policy):
    return Record("p", 0, 0, 0, policy.key, encode(policy))


def test_types_come_from_the_catalogue_and_only_those_in_use_are_kept(tmp_path):
    book = PolicyBook()
    rows = [
        {"stock": 1, "creator": "ann", "other": True, "odd": 1, "mixed": "2026-01-01"},
        {"stock": 2.5, "odd": "x", "until": "2026-01-01", "lands": ["DE"], "mixed": "later"},
    ]
    book.take_items(
        [Item(item_id=str(n), item_type="s", attributes=row) for n, row in enumerate(rows)]
    )
    found = AttributeTypes.of(book.in_force.columns)
    found.add_user({"plan": "free", "country": "DE", "nothing": None})
    policy = checked(read_file(file(tmp_path, POLICY)), found)
    assert policy.list_name == "mix"
    assert policy.rules.types == {"item.stock": "number", "item.creator": "text"}
    assert found.types == {
        "item.stock": "number", "item.creator": "text", "item.other": "boolean",
        "item.until": "time", "item.lands": "list", "item.mixed": "text", "user.plan": "text",
    }  # fmt: skip
    odd = PolicyFile(list_name="*", rules=rules_of({"filter": "item.odd > 1"}))
    with pytest.raises(PolicyError, match=r"item\.odd has number and text"):
        checked(odd, found)
    named = rules_of({"filter": "item.odd > 1", "types": {"item.odd": "number"}})
    assert checked(PolicyFile(list_name="*", rules=named), found).rules == named


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filter = ", "policy.toml: "),
        ("list = 3", "list: expected"),
        ("filtre = 'x'", "filtre"),
        ("[[cap]]\nattribute = 'a'\nmost = 0", "cap"),
    ],
)
def test_files_that_are_no_policies_are_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(PolicyError, match=message):
        read_file(file(tmp_path, text))


def test_check_names_the_place_and_the_status_says_it(tmp_path):
    types = "[types]\n'item.stock' = 'number'\n'item.creator' = 'text'\n"
    good = CliRunner().invoke(
        app, ["policy", "check", str(file(tmp_path, POLICY + types)), "--offline", "--json"]
    )
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["rules"]["filter"] == "item.stock > 0"
    bad = CliRunner().invoke(app, ["policy", "check", str(file(tmp_path, POLICY)), "--offline"])
    assert bad.exit_code == 1
    assert "filter: line 1, column 1" in " ".join(bad.output.split())


def test_the_greatest_good_version_is_in_force_and_undo_goes_before_it():
    one, two = {"diversity": 0.1}, {"diversity": 0.2}
    records = [record(said(2, two)), record(said(1, one)), record(said(3, {"bad": 1}))]
    found = newest_of(records, "mix")
    assert [version.version for version in found] == [1, 2, 3]
    assert in_force(found).version == 2
    assert "bad" in fault_of(found[2])
    assert before(found).version == 1
    assert before(found[:1]) is None
    assert newest_of(records, "other") == []


def test_a_difference_names_what_changed():
    lines = difference(rules_of({"diversity": 0.1}), rules_of({"diversity": 0.2}), ("a", "b"))
    assert [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        '-  "diversity": 0.1', '+  "diversity": 0.2'
    ]  # fmt: skip
    assert difference(rules_of({}), rules_of({}), ("a", "b")) == []


def test_a_preview_counts_short_lists_and_what_changed():
    names = ItemNames(ids=["a", "b", "c"], types=["song"] * 3)

    def ranking(*rows):
        return {"mix": Ranking(names=names, rows=rows, scores=np.zeros(len(rows), np.float32))}

    nothing = np.zeros(0, np.uint64)
    user = UserState(user_id="u", history_item=nothing, history_time=nothing.astype(np.int64),
                     history_strong=nothing.astype(bool))  # fmt: skip
    found = compared(
        [user], [ListSettings(name="mix", k=2)], ([ranking(0, 1)], [ranking(2)]),
        lambda kind, name: {("song", "c"): "Third"}.get((kind, name)),
    )  # fmt: skip
    assert found["lists"]["mix"] == {"short_before": 0, "short_after": 1, "changed": 1.0}
    [after] = found["users"][0]["lists"]["mix"]["after"]
    assert after == {"item_type": "song", "item_id": "c", "title": "Third"}


# Attributes of foreign catalogues


def test_columns_of_a_file_become_attributes(tmp_path):
    table = tmp_path / "items.csv"
    table.write_text(
        "item_id,item_type,title,qty,lands,brand,sale,end\n"
        "a,s,A,3,DE|AT,007,yes,2027-01-01\nb,s,B,,,,,\nc,s,C,many,,,,\nd,s,D,1,,,perhaps,\n"
    )
    fields = [
        "attributes.stock:number=qty", "attributes.markets:list=lands", "attributes.brand=brand",
        "attributes.sale:boolean=sale", "attributes.until:time=end",
    ]  # fmt: skip
    found = read_catalogue(table, fields)
    items = [decode(Item, value) for _, value in found.records]
    assert items[0].attributes == {
        "stock": 3, "markets": ["DE", "AT"], "brand": "007", "sale": True,
        "until": "2027-01-01T00:00:00.000+00:00",
    }  # fmt: skip
    assert [bad.place for bad in found.bad] == ["line 4", "line 5"]
    assert "qty: expected a value of type number for stock, got 'many'" in found.faults(1)
    for wrong in ("attributes.a:float=qty", "attributes.=qty", "attributes.a"):
        with pytest.raises(CatalogueError, match=r"expected attributes\.NAME"):
            read_catalogue(table, [wrong])
    with pytest.raises(CatalogueError, match="has no field 'nothing'"):
        read_catalogue(table, ["attributes.a=nothing"])


def test_attributes_that_are_an_object_are_taken_with_named_ones(tmp_path):
    lines = tmp_path / "items.jsonl"
    row = {"item_id": "a", "item_type": "s", "title": "A", "attributes": {"x": 1}, "n": [1]}
    lines.write_text(json.dumps(row))
    [(_, value)] = read_catalogue(lines, ["attributes.y:text=n"]).records
    assert decode(Item, value).attributes == {"x": 1, "y": "[1]"}
    found = read_catalogue(lines, ["attributes.y=n"])
    assert "wrong_type" in found.faults(1)


def test_a_check_reads_attributes_and_prints_them_in_its_command(tmp_path):
    table = tmp_path / "items.csv"
    table.write_text("item_id,item_type,title,qty\na,s,A,3\nb,s,B,many\n")
    done = CliRunner().invoke(
        app, ["catalogue", str(table), "--check", "--json", "-f", "attributes.stock:number=qty"]
    )
    found = json.loads(done.stdout)
    assert found["sample"][0]["attributes"] == {"stock": 3}
    assert found["bad_rows"] == 1
    assert found["command"].endswith("-f attributes.stock:number=qty")
    assert found["unused"] == []


def test_the_effect_is_printed_with_its_interval_and_without_where_there_is_none(capsys):
    figure = {"before": 0.25, "after": 0.5, "low": 0.125, "high": 0.375}
    one = {"before": 0.5, "after": 0.5, "low": None, "high": None}
    effect = {"questions": 1_200, "hr_at_10": figure, "coverage": one, "diversity": None}
    _show_effects({"mix": {"effect": effect}, "old": {"effect": None}})
    printed = capsys.readouterr().out
    rows = [
        [*map(str.strip, line.split("│"))][1:-1] for line in printed.splitlines() if "│" in line
    ]
    assert rows == [
        ["mix", "HR@10", "1,200", "0.2500", "0.5000", "+0.2500 (+0.1250 to +0.3750)"],
        ["mix", "coverage", "1,200", "0.5000", "0.5000", "+0.0000"],
        ["old", "", "0", "", "", ""],
    ]
