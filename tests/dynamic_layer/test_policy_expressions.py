"""Conditions of policies: what they mean, and which are refused where."""

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.items.features import ItemRows
from dynamic_layer.policies.columns import ItemColumns, common_type, kind_of
from dynamic_layer.policies.expressions import compile_expression
from dynamic_layer.policies.masks import RowMasks
from dynamic_layer.policies.moment import Moment
from dynamic_layer.policies.rules import PolicyError
from dynamic_layer.policies.values import like

NOW = 1_780_000_000_000.0  # 2026-05-28
TYPES = {
    "item.stock": "number", "item.price": "number", "item.markets": "list",
    "item.creator": "text", "item.until": "time", "item.sale": "boolean",
    "user.plan": "text", "user.likes": "list",
}  # fmt: skip
USER = {
    "user.country": "AT", "user.plan": None, "user.likes": frozenset({"DE", "x"}),
    "user.birth_year": 1990.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def columns() -> ItemColumns:
    """Slot 0 knows nothing; then three items."""
    found = ItemColumns()
    found.put(
        [11, 12, 13],
        [
            {
                "stock": 3, "price": 2.5, "markets": ["DE", "AT"], "creator": "ann",
                "until": "2027-01-01", "sale": True, "genres": ["a"],
            },
            {"stock": 0, "markets": ["DE"], "creator": "Bob", "until": 1_700_000_000_000},
            {"stock": "many", "creator": 7, "sale": False, "markets": "AT"},
        ],
    )  # fmt: skip
    return found


def holds(columns, text):
    found = compile_expression(text, TYPES, "filter")
    return found(Moment(columns, slice(0, len(columns)), USER, NOW))[1:].tolist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("item.stock > 0 and user.country in item.markets", [True, False, False]),
        ("item.stock >= 0", [True, True, False]),
        ("not item.stock > 0", [False, True, False]),  # unknown is neither
        ("item.stock is null", [False, False, True]),
        ("item.stock is not null", [True, True, False]),
        ("coalesce(item.stock, 5) > 4", [False, False, True]),
        ("item.price / item.stock > 0 or item.stock = 0", [True, True, False]),
        ("1 / item.stock > 0", [True, False, False]),  # 1 / 0 is unknown
        ("not (1 / item.stock > 0)", [False, False, False]),
        ("item.stock % 2 = 1", [True, False, False]),
        ("item.stock * 1e308 * 10 > 0", [False, False, False]),  # too great: unknown
        ("-item.stock < -2", [True, False, False]),
        ("item.stock between 1 and 3", [True, False, False]),
        ("item.stock in (0, 7)", [False, True, False]),
        ("item.creator = 'ann'", [True, False, False]),
        ("item.creator <> 'ann'", [False, True, False]),
        ("lower(item.creator) in ('bob')", [False, True, False]),
        ("item.creator not in ('ann', 'eve')", [False, True, False]),
        ("item.creator like 'a_%'", [True, False, False]),
        ("item.creator is null", [False, False, True]),
        ("item.creator in item.markets", [False, False, False]),
        ("'AT' in item.markets", [True, False, False]),
        ("arrays_overlap(item.markets, user.likes)", [True, True, False]),
        ("item.until > '2026-12-31'", [True, False, False]),
        ("item.until < timestamp '2026-01-01T00:00:00+02:00'", [False, True, False]),
        ("item.until > request.now + interval '7 days'", [True, False, False]),
        ("current_timestamp - item.until > interval '1' day", [False, True, False]),
        ("item.sale", [True, False, False]),
        ("item.sale = false", [False, False, True]),
        ("coalesce(item.sale, true)", [True, True, False]),
        ("user.plan = 'free'", [False, False, False]),
        ("user.plan is null and user.birth_year < 2000", [True, True, True]),
        ("item.\"stock\" > 0 -- in stock", [True, False, False]),
    ],
)  # fmt: skip
def test_conditions_mean_what_they_mean_in_sql(columns, text, wanted):
    assert holds(columns, text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item.stok > 1", "line 1, column 1: there is no 'item.stok'"),
        (
            "item.stok > 1",
            "names are item.X, user.X and request.X; known: item.creator, item.genres, item.lang",
        ),
        ("thing.stok > 1", "names are item.X, user.X and request.X"),
        ("true < false", "line 1, column 1: expected numbers or times for <, got boolean"),
        ("true\n and item.stock > 'a'", "line 2, column 6: number and text"),
        ("item.stock + item.creator > 1", "there is no number + text"),
        ("item.stock", "column 1: expected boolean, got number"),
        ("item.stock >", "line 1, column 12: near '>': something is missing here"),
        ("item.until > lower(item.creator)", "time and text cannot be compared"),
        ("item.creator < 'b'", "expected numbers or times for <, got text"),
        ("item.until > 'tomorrow'", "column 14: expected a time in ISO 8601, got 'tomorrow'"),
        ("item.title = 'x'", "can only stand in `same`"),
        ("item.stock in item.price", "column 15: expected list, got number"),
        ("1e999 > item.stock", "expected a finite number"),
        ("sleep(3) > 1", "there is no function sleep"),
        ("exists(select 1)", "not part of the language"),
        ("item.stock between symmetric 3 and 1", "symmetric of Between is not part"),
        ("item.creator like 'a' escape 'b'", "not part of the language"),
        ("(select 1) = 1", "not part of the language"),
        ("true; drop table x", "column 5: expected one condition, got a semicolon"),
        ("case when item.sale then true else false end", "not part of the language"),
        ("item.stock::text = '1'", "nothing else is cast"),
        ("item.a.b > 1", "there is no 'item.a.b'"),
        ("", "expected a condition, got none"),
        (
            "item.stock > 0 and\nitem.creator = 'a",
            "line 2, column 16: the quotation mark is not closed",
        ),
        ('"item.stock > 0', "line 1, column 1: the quotation mark is not closed"),
        ("item.stock > 0 /* a", "line 1, column"),
        ("\x00", "there is no"),
        ("interval 'x' day > interval '1 day'", "expected INTERVAL 'NUMBER'"),
        ("(" * 40 + "true" + ")" * 40, "column 25: nested more than 24 deep"),
        ("not " * 400 + "true", "nested more than 24 deep"),
        ("- " * 400 + "1 > 0", "nested more than 24 deep"),
        ("item.stock in (" + "1," * 3_000 + "1)", "expected at most 2000 words and signs"),
        ("+".join(["item.stock"] * 400) + " > 1", "more than 150 operators"),
        ("case when " * 100 + "true" + " end" * 100, "nested more than 24 deep"),
    ],
)
def test_what_is_no_condition_is_refused_with_its_place(text, message):
    with pytest.raises(PolicyError, match=r"^filter: ") as raised:
        compile_expression(text, TYPES, "filter")
    assert message in str(raised.value)
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("item.price / 0 > 1", ["column 14: division by zero"]),
        ("item.price % (2 - 2) > 1", ["column 15: division by zero"]),
        ("INTERVAL '1 day' / 0.0 > INTERVAL '1 day'", ["division by zero"]),
        ("item.price < 1e308 * 10", ["column 14: the result is not a finite number"]),
        ("item.price < 1 + 1e308 * 10 * 2", ["column 18: the result is not a finite number"]),
        ("1 / 0 > 2 or 3 % 0 < item.price / 0", ["column 5", "column 18", "column 35"]),
        (f"item.until > now() - interval '{'9' * 400}' day", ["the length is not a finite"]),
        ("item.price / 2 > 1 / 4", []),
    ],
)
def test_constant_parts_without_a_value_are_null_and_noted_once(columns, text, notes):
    found = compile_expression(text, TYPES, "filter").without_value
    assert len(found) == len(notes)
    for note, said in zip(notes, found, strict=True):
        assert said.startswith("filter: line 1, column ")
        assert note in said
    assert holds(columns, f"not ({text})") == holds(columns, text) or not notes


def test_long_conditions_that_are_not_deep_are_taken(columns):
    text = " and ".join(["item.stock > 0"] * 300)
    assert holds(columns, text) == [True, False, False]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text):
    with suppress(PolicyError):
        compile_expression(text, TYPES, "filter")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.none() | st.integers(-3, 3)), min_size=1, max_size=20)
)
def test_values_over_columns_are_those_of_python_row_by_row(rows):
    columns = ItemColumns()
    columns.put(range(1, len(rows) + 1), [{"stock": a, "price": b} for a, b in rows])
    text = "item.stock / item.price >= 1 or not item.price > item.stock + 1"
    found = compile_expression(text, TYPES, "filter")
    got = found(Moment(columns, np.arange(1, len(rows) + 1), {}, NOW)).tolist()
    wanted = [b is not None and ((b != 0 and a / b >= 1) or b <= a + 1) for a, b in rows]
    assert got == wanted


@settings(deadline=None)
@given(
    st.text("ab%_\\", max_size=8), st.text("ab%_\\", max_size=8)
)  # fmt: skip
def test_like_agrees_with_a_slow_matcher(pattern, text):
    assert like(pattern)(text) == _slow_like(_symbols(pattern), text)


def _symbols(pattern):
    found, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            found.append(("is", pattern[at + 1]))
            at += 2
        else:
            found.append({"%": ("any", ""), "_": ("one", "")}.get(pattern[at], ("is", pattern[at])))
            at += 1
    return found


def _slow_like(symbols, text):
    if not symbols:
        return not text
    kind, letter = symbols[0]
    if kind == "any":
        return any(_slow_like(symbols[1:], text[n:]) for n in range(len(text) + 1))
    return bool(text) and (kind == "one" or text[0] == letter) and _slow_like(symbols[1:], text[1:])


def test_like_takes_no_time_that_grows_with_its_signs(columns):
    """Backtracking over forty % and a text of 60 letters would not end."""
    assert not like("%a" * 40 + "b")("a" * 60)


def test_a_record_replaces_all_attributes_at_once():
    columns = ItemColumns()
    columns.put([5], [{"stock": 1, "creator": "ann"}])
    version = columns.version
    columns.put([5, 6], [{"stock": 2}, {}])
    slot = columns.slots_of(np.array([5], np.uint64))
    assert columns.column("stock").numbers(slot, "number").tolist() == [2.0]
    assert columns.column("creator").codes(slot, "text").tolist() == [-1]
    assert columns.changed_since(version).tolist() == [1, 2]
    assert columns.slots_of(np.array([7], np.uint64)).tolist() == [0]


@pytest.mark.parametrize(
    ("puts", "known"),
    [([[1]] * 4, [True, True, True, False]), ([[]] * 5, [True, True, True, False, False]),
     ([[1], [1, 2, 3]], [True, False]), ([[1, 2, 3, 4]], [False])],
)  # fmt: skip
def test_as_many_changes_are_known_as_fit(monkeypatch, puts, known):
    """Changes of three slots, and three changes: what lies further back is not known."""
    monkeypatch.setattr("dynamic_layer.policies.columns._REMEMBERED", 3)
    columns = ItemColumns()
    for keys in puts:
        columns.put(keys, [{"stock": 1}] * len(keys))
    behind = [columns.changed_keys(columns.version - n) for n in range(1, len(puts) + 1)]
    assert [keys is not None for keys in behind] == known


def test_a_column_without_words_has_none():
    columns = ItemColumns()
    columns.put([1, 2], [{"n": 1}, {}])
    for of in ("text", "list"):
        assert columns.column("n").codes(slice(1, 3), of).tolist() == [-1, -1]
    assert columns.column("unknown").codes(slice(1, 3), "text").tolist() == [-1, -1]


def test_columns_keep_many_items_and_forget_words_that_nothing_has():
    columns = ItemColumns()
    keys = list(range(1, 40_001))
    for start in range(0, len(keys), 8_000):
        part = keys[start : start + 8_000]
        columns.put(part, [{"n": key, "parity": "even" if key % 2 == 0 else "odd"} for key in part])
    slots = columns.slots_of(np.array(keys[::-1], np.uint64))
    assert columns.column("n").numbers(slots, "number").tolist() == keys[::-1]
    parity = columns.column("parity")
    words = [parity.words[code] for code in parity.codes(slots, "text").tolist()]
    assert words == ["even", "odd"] * 20_000
    few = ItemColumns()
    for n in range(8_000):
        few.put([1], [{"word": f"w{n}"}])
    assert len(few.column("word").words) < 4_000
    assert few.column("word").place("w7999") >= 0


@pytest.mark.parametrize("value", [10**400, math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_are_no_value(value):
    columns = ItemColumns()
    columns.put([1], [{"n": value}])
    assert np.isnan(columns.column("n").numbers(slice(1, 2), "number")).all()


def test_a_condition_on_the_time_is_of_the_second():
    """So that its mask is made once a second at most."""
    columns, keys = ItemColumns(), np.array([1, 2], np.uint64)
    columns.put([1, 2], [{"until": NOW}, {"until": NOW + 1_000}])
    masks = RowMasks(columns)
    slots = masks.slots(keys, ItemRows(keys))
    over = compile_expression("item.until <= request.now", TYPES, "filter")
    found = [
        masks.mask(over, (), int(NOW) + after, slots).tolist() for after in (-1, 0, 999, 1_000)
    ]
    assert found == [[False, False], [True, False], [True, False], [True, True]]


def inferred(values):
    return common_type({kind_of(value) for value in values if value is not None})


def test_types_are_inferred_where_all_values_agree():
    assert inferred([True, None]) == "boolean"
    assert inferred([["a"]]) == "list"
    assert inferred(["2026-01-01", "soon"]) == "text"
    assert inferred([None]) is None
