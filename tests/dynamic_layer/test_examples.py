"""Example batches on the wire."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import CorruptExamples, ExampleBatch, kind_code
from tests.dynamic_layer.worlds import make_examples, make_items

ITEMS = make_items()


def equal(left: ExampleBatch, right: ExampleBatch) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in vars(left))


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
