"""Lists of the past, to learn from and to judge by, hold what was there at their time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamic_layer import DynamicBundle, LivePopularity, NewItems, Trainer, times_of
from dynamic_layer.examples.replay import PaddedExamples, pad
from dynamic_layer.head.candidates import NONE
from dynamic_layer.items.features import ItemRows
from dynamic_layer.items.published import ALWAYS
from dynamic_layer.lists.asking import Asking
from dynamic_layer.lists.existing_items import ExistingItems
from dynamic_layer.lists.head_learning import asked_of, made_lists, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker, Proposed
from dynamic_layer.popularity.demand import Demand, DemandReader
from state.items import item_key
from tests.dynamic_layer.headed import HEADED, HOUR_MS, headed, live_of
from tests.dynamic_layer.worlds import make_items


def questions(n: int = 40) -> PaddedExamples:
    return pad(headed().examples.take(np.arange(1_000, 1_000 + n)), HEADED.replay.history_cap, 0)


def silent() -> LivePopularity:
    """Demand of which nothing was counted."""
    return LivePopularity(bucket_ms=HOUR_MS, window_buckets=90 * 24)


def candidates(
    monkeypatch: pytest.MonkeyPatch, bundle: DynamicBundle, asked: PaddedExamples, counts: Any
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Times and candidates of the lists of examples."""
    settings = ranking_settings(bundle)
    assert settings is not None
    maker, seen = ListMaker(bundle, settings), []
    own = maker.propose

    def propose(*args: Any, **more: Any) -> Proposed:
        seen.append(own(*args, **more))
        return seen[-1]

    monkeypatch.setattr(maker, "propose", propose)
    made = list(made_lists(bundle, maker, asked, counts, settings.demand_half_lives_days))
    return [
        (asked.timestamp[one.place], proposed.rows)
        for one, proposed in zip(made, seen, strict=True)
    ]


def test_no_list_has_an_item_that_was_published_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, asked = headed().bundle, questions()
    # Half of the items come one after the other while the questions are asked.
    first, last = int(asked.timestamp.min()), int(asked.timestamp.max())
    n = len(bundle.item_keys)
    published = np.where(np.arange(n) % 2, np.linspace(first, last, n).astype(np.int64), ALWAYS)
    launching, new = replace(bundle, published_ms=published), 0
    for at_ms, rows in candidates(monkeypatch, launching, asked, silent()):
        there = rows != NONE
        came = np.where(there, published[rows], ALWAYS)
        assert (came <= at_ms[:, None]).all()
        new += int((came > ALWAYS).sum())
    assert new > 20, "items are candidates from the time on at which they were published"
    always = sum(int((rows % 2).sum()) for _, rows in candidates(
        monkeypatch, bundle, asked, silent()))  # fmt: skip
    assert always > new


def test_an_item_with_events_was_there_whatever_the_catalogue_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, asked, counts = headed().bundle, questions(), live_of(headed().examples)
    late = np.full(len(bundle.item_keys), int(asked.timestamp.max()) + 1)
    found = candidates(monkeypatch, replace(bundle, published_ms=late), asked, counts)
    expected = candidates(monkeypatch, bundle, asked, counts)
    for (_, rows), (_, all_rows) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(all_rows, axis=1))


def of_two(bundle: DynamicBundle) -> tuple[Asking, Demand]:
    asked = questions(2)
    rows = ItemRows(bundle.item_keys)
    demand = DemandReader(silent(), rows, len(bundle.item_keys), (1.0,)).at(0)
    return asked_of(bundle, asked, rows), demand


def test_users_of_one_batch_are_barred_from_what_came_after_each_of_them() -> None:
    bundle = headed().bundle
    users, demand = of_two(bundle)
    published = np.full(len(bundle.item_keys), ALWAYS)
    published[3], published[4] = 150, 250
    barred, there = ExistingItems(published)(users, np.array([100, 200]), demand)
    assert barred.cooling is not None and there is not None
    assert barred.cooling.tolist() == [[3], [-1]]
    assert np.flatnonzero(~there).tolist() == [4]
    # Rows that were barred before stay so.
    again, _ = ExistingItems(published)(replace(users, cooling=np.array([[7], [8]])),
                                    np.array([100, 200]), demand)  # fmt: skip
    assert again.cooling is not None and again.cooling.tolist() == [[7, 3], [8, -1]]


def test_where_all_items_were_there_nothing_is_limited() -> None:
    bundle = headed().bundle
    users, demand = of_two(bundle)
    early = np.full(len(bundle.item_keys), 50)
    for published in (None, early):
        same, there = ExistingItems(published)(users, np.array([100, 200]), demand)
        assert same is users and there is None


def test_a_bundle_knows_when_its_items_were_published(tmp_path: Path) -> None:
    static = make_items(60)
    static.published_ms = times_of([5, None] * 30)  # type: ignore[attr-defined]
    trainer = Trainer(static, HEADED, seed=1)
    trainer.grow(NewItems(
        item_keys=np.array([item_key("podcast", "new")], np.uint64), item_ids=["new"],
        item_types=["podcast"], languages=["en"], genres=[None], text=static.text[:1],
        published_ms=times_of([9]),
    ))  # fmt: skip
    bundle = trainer.publish()
    bundle.save(tmp_path)
    for one in (bundle, DynamicBundle.load(tmp_path)):
        assert one.published_ms is not None
        assert one.published_ms.tolist() == [5, ALWAYS] * 30 + [9]
    assert headed().bundle.published_ms is None
