"""Example batches on the wire."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import CorruptExamples, ExampleBatch, ShownColumns, kind_code
from state import ShownBefore
from tests.dynamic_layer.worlds import make_examples, make_items

ITEMS = make_items()


def equal(left: ExampleBatch, right: ExampleBatch) -> bool:
    if left.shown is not None and right.shown is not None:
        shown = vars(left.shown)
        if not all(np.array_equal(shown[name], getattr(right.shown, name)) for name in shown):
            return False
        left, right = replace(left, shown=None), replace(right, shown=None)
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in vars(left))


def shown_to(sizes: list[int]) -> ShownColumns:
    """Impressions of users who were shown so many items; nothing is known of the last one."""
    rng = np.random.default_rng(sum(sizes))
    users = [
        ShownBefore(
            items=np.sort(rng.integers(2**60, size=size).astype(np.uint64)),
            end=rng.integers(2**40, size=size), count=rng.integers(1, 9, size=size),
        )
        for size in sizes[:-1]
    ]  # fmt: skip
    return ShownColumns.of([*users, None])


@given(n=st.integers(0, 30), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_is_packed_comes_back(n: int, seed: int) -> None:
    batch = make_examples(ITEMS, n, seed=seed)
    assert equal(ExampleBatch.unpack(batch.pack()), batch)


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_bytes_cut_short_or_too_long_are_refused(data: st.DataObject) -> None:
    packed = make_examples(ITEMS, 5).pack()
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(packed[:cut])
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(packed + b"x")


@given(junk=st.binary(max_size=200))
@settings(deadline=None)
def test_any_other_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(junk)


def test_a_header_that_promises_too_much_is_refused_without_reading_on() -> None:
    packed = bytearray(make_examples(ITEMS, 5).pack())
    packed[14:18] = (2**31).to_bytes(4, "little")
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(bytes(packed))


def test_another_version_is_refused() -> None:
    packed = bytearray(make_examples(ITEMS, 5).pack())
    packed[4] = 9
    with pytest.raises(CorruptExamples, match="version"):
        ExampleBatch.unpack(bytes(packed))


def test_columns_of_different_lengths_are_refused() -> None:
    batch = make_examples(ITEMS, 5)
    with pytest.raises(ValueError, match="target"):
        replace(batch, target=batch.target[:3])
    with pytest.raises(ValueError, match="indptr"):
        replace(batch, indptr=batch.indptr[::-1])


def test_taking_rows_takes_their_histories() -> None:
    batch = make_examples(ITEMS, 10)
    taken = batch.take(np.array([7, 2]))
    for place, row in enumerate([7, 2]):
        expected = batch.history_item[batch.indptr[row] : batch.indptr[row + 1]]
        found = taken.history_item[taken.indptr[place] : taken.indptr[place + 1]]
        assert found.tolist() == expected.tolist()
    assert taken.target.tolist() == batch.target[[7, 2]].tolist()
    assert taken.country == [batch.country[7], batch.country[2]]


def test_kinds_and_arms_come_back_together_or_alone() -> None:
    plain = make_examples(ITEMS, 7)
    kind = np.array([kind_code("buy"), kind_code("like")] * 4, np.uint64)[:7]
    for arm in (None, [f"arm-{n}" for n in range(7)]):
        for own in (None, kind):
            batch = replace(plain, kind=own, arm=arm)
            assert equal(ExampleBatch.unpack(batch.pack()), batch)
            chosen = batch.take(np.array([5, 0]))
            assert chosen.kind is None or chosen.kind.tolist() == kind[[5, 0]].tolist()
    assert plain.pack()[4] == 1, "earlier trainers read batches without either"
    assert kind_code("buy") != kind_code("like")


@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=12), more=st.booleans())
@settings(max_examples=50, deadline=None)
def test_impressions_come_back_with_or_without_the_rest(sizes: list[int], more: bool) -> None:
    n = len(sizes)
    batch = replace(make_examples(ITEMS, n), shown=shown_to(sizes))
    if more:
        batch = replace(batch, kind=np.arange(n).astype(np.uint64), arm=["a"] * n)
    packed = batch.pack()
    assert equal(ExampleBatch.unpack(packed), batch)
    rows = np.arange(n)[::-1]
    taken = batch.take(rows)
    assert taken.shown is not None
    assert batch.shown is not None
    for place, row in enumerate(rows.tolist()):
        own = slice(batch.shown.indptr[row], batch.shown.indptr[row + 1])
        found = slice(taken.shown.indptr[place], taken.shown.indptr[place + 1])
        for name in ("item", "end", "count"):
            expected = getattr(batch.shown, name)[own].tolist()
            assert getattr(taken.shown, name)[found].tolist() == expected
    for size in range(len(packed)):
        with pytest.raises(CorruptExamples):
            ExampleBatch.unpack(packed[:size])
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(packed + b"x")


def test_impressions_of_other_examples_are_refused() -> None:
    batch = make_examples(ITEMS, 5)
    with pytest.raises(ValueError, match="impressions of 5 examples"):
        replace(batch, shown=shown_to([1, 2, 0]))
    packed = bytearray(replace(batch, shown=shown_to([3, 1, 2, 0, 0])).pack())
    at = len(replace(batch, shown=None).pack())
    packed[at + 8 : at + 16] = (2**40).to_bytes(8, "little")
    with pytest.raises(CorruptExamples):
        ExampleBatch.unpack(bytes(packed))
