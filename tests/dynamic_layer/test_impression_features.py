"""What a head reads of impressions: as defined, as trained, and only where there are any."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer import (
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    ListSettings,
    Recommender,
    ShownColumns,
    Trainer,
    UserState,
    explain,
)
from dynamic_layer.examples.replay import Replay, pad
from dynamic_layer.head.growing_head import grown_head, grown_trainer, only_adds
from dynamic_layer.head.impressions import is_of_impressions
from dynamic_layer.head.ranking_head import HeadTrainer, Lists, RankingHead
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import _shown_of, asked_of, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.serving.user_reading import impressions_of
from dynamic_layer.settings import HeadSettings
from state import ShownBefore, ShownItems
from tests.dynamic_layer.headed import HEADED, NOW_MS, headed, live_of
from tests.dynamic_layer.worlds import DAY_MS, make_examples, make_user

HALVES = (1.0, 30.0)
MIX = ListSettings(name="mix")


class ReadsShown:
    """A head that reads impressions."""

    reads_shown = True


def items_of(rows: list[tuple[int, int, int]], bucket_ms: int = DAY_MS) -> ShownItems:
    """Impressions: (item key, bucket, count)."""
    return ShownItems(
        items=np.array([item for item, _, _ in rows], np.uint64),
        begin=np.array([bucket for _, bucket, _ in rows], np.int64) * bucket_ms,
        count=np.array([count for _, _, count in rows], np.int64), bucket_ms=bucket_ms,
    )  # fmt: skip


# An item and a bucket have one row: that is how states keep them.
shown = st.dictionaries(
    st.tuples(st.integers(0, 12), st.integers(0, 20)), st.integers(1, 5), max_size=25
).map(lambda found: [(item, bucket, n) for (item, bucket), n in found.items()])


def defined(rows: list[tuple[int, int, int]], item: int, at_ms: int, half: float) -> float:
    """The feature of an item, from each impression by itself."""
    ended = [(b, n) for i, b, n in rows if i == item and (b + 1) * DAY_MS <= at_ms]
    if not ended:
        return 0.0
    age_days = (at_ms - (max(b for b, _ in ended) + 1) * DAY_MS) / DAY_MS
    return math.log1p(sum(n for _, n in ended)) * 0.5 ** (age_days / half)


@given(st.lists(shown, min_size=1, max_size=4), st.integers(0, 22 * DAY_MS))
@settings(max_examples=200, deadline=None)
def test_features_equal_their_definition_for_training_and_for_serving(
    of_users: list[list[tuple[int, int, int]]], at_ms: int
) -> None:
    users = [
        replace(
            make_user(headed().static, [0], now_ms=at_ms), shown=items_of(rows) if rows else None
        )
        for rows in of_users
    ]
    n = len(users)
    rows = ItemRows(np.arange(3, 13).astype(np.uint64))  # the first three items are unknown
    candidates = np.tile(np.array([[4, -1, 0, 9, 1, 2, 3]]), (n, 1))
    expected = [
        [[defined(own, c + 3, at_ms, half) if c >= 0 else 0 for half in HALVES] for c in line]
        for own, line in zip(of_users, candidates.tolist(), strict=True)
    ]
    served = impressions_of(users, rows, at_ms, ReadsShown())  # type: ignore[arg-type]
    if served is None:
        assert not any(of_users)
    else:
        assert served.to_ms == at_ms // DAY_MS * DAY_MS
        found = served.features(candidates, HALVES)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        backwards = np.arange(n)[::-1]
        again = served.take(backwards).features(candidates, HALVES)
        np.testing.assert_array_equal(again, found[backwards])
    columns = ShownColumns.of([user.shown and user.shown.before(at_ms) for user in users])
    batch = replace(make_examples(headed().static, n), timestamp=np.full(n, at_ms), shown=columns)
    replay = Replay(capacity=8, history_cap=5)
    replay.append(pad(ExampleBatch.unpack(batch.pack()), 5, 0))
    trained = _shown_of(replay.take(replay.numbers()), rows)
    if trained is None:
        assert not len(columns.item)
    else:
        assert served is not None
        for name in ("indptr", "item", "age_days", "count"):
            np.testing.assert_array_equal(getattr(trained, name), getattr(served, name))


def test_a_bucket_that_goes_on_is_not_read() -> None:
    """It has the list that the user chooses from: what is taken would tell of itself."""
    now = items_of([(5, 10, 3), (6, 9, 1)])
    assert now.before(11 * DAY_MS - 1).items.tolist() == [6]
    assert now.before(11 * DAY_MS).items.tolist() == [5, 6]


# A head that learns to read more


NAMES = ["a", "b", "c"]
MORE = ["a", "new", "b", "other", "c"]


def lists_of(names: list[str], seed: int, n: int = 200) -> Lists:
    """Lists in which a is worth most where b is high; what else there is to read is 0."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n, 12, 3)).astype(np.float32)
    features = np.zeros((n, 12, len(names)), np.float32)
    features[:, :, [names.index(name) for name in NAMES]] = own
    best = (own[:, :, 0] * (own[:, :, 1] > 0)).argmax(axis=1)
    return Lists(
        features=features, label=np.arange(12) == best[:, None], valid=np.ones((n, 12), np.bool_)
    )


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_head_that_reads_more_goes_on_where_it_was(hidden: int) -> None:
    read = HeadSettings(hidden=hidden, epochs=4.0, batch_size=32)
    one = HeadTrainer(NAMES, read, seed=3)
    one.add(lists_of(NAMES, 1))
    one.train()
    grown = grown_trainer(one, NAMES, MORE, seed=3)
    probe = lists_of(NAMES, 9), lists_of(MORE, 9)

    def apart() -> float:
        wide = grown.publish().scores(probe[1].features, probe[1].valid)
        return float(np.abs(one.publish().scores(probe[0].features, probe[0].valid) - wide).max())

    assert apart() < 1e-5
    assert grown.held == one.held
    for trainer, names in ((one, NAMES), (grown, MORE)):
        trainer.add(lists_of(names, 2))
        trainer.train()
    assert apart() < 1e-3, "moments and the order of lists are those of before"
    head = one.publish()
    wider = grown_head(head, MORE)
    assert wider.names == MORE
    scores = head.scores(probe[0].features, probe[0].valid)
    np.testing.assert_allclose(wider.scores(probe[1].features, probe[1].valid), scores, atol=1e-5)
    noisy = probe[1].features.copy()
    noisy[:, :, 1] = 7.0
    np.testing.assert_allclose(wider.scores(noisy, probe[1].valid), scores, atol=1e-5)
    assert grown_head(head, NAMES) is head


def test_features_that_go_or_change_places_are_no_growth() -> None:
    assert only_adds(NAMES, MORE)
    assert only_adds(NAMES, NAMES)
    assert not only_adds(MORE, NAMES)
    assert not only_adds(NAMES, ["b", "a", "c"])
    assert not only_adds(NAMES, ["a", "b", "d"])


# In the stream


def with_impressions(batch: ExampleBatch, seed: int = 0) -> ExampleBatch:
    """Users who take what they were not shown: of their topic they had been shown all other items.

    The world's items that are left are few, and the target is one of them.
    """
    static, rng = headed().static, np.random.default_rng(seed)
    row = ItemRows(static.item_keys)(batch.target)
    users = []
    for target, time in zip(row.tolist(), batch.timestamp.tolist(), strict=True):
        alike = np.flatnonzero(static.topic == static.topic[target])
        others = rng.permutation(alike[alike != target])[: len(alike) * 3 // 4]
        keys = np.sort(static.item_keys[others])
        end = np.full(len(keys), time // DAY_MS * DAY_MS)
        users.append(ShownBefore(items=keys, end=end, count=np.full(len(keys), 4)))
    return replace(batch, shown=ShownColumns.of(users))


def continued(shown: bool, dynamic: DynamicSettings = HEADED) -> tuple[Trainer, DynamicBundle]:
    """A trainer with a head of two lessons, the second one of users who were shown items."""
    static, first = headed().static, headed().examples
    later = make_examples(static, 2_000, first_offset=len(first), seed=4)
    later = replace(later, timestamp=later.timestamp + 31 * DAY_MS)
    trainer = Trainer(static, dynamic, seed=7, ranking=True, live=live_of(first))
    trainer.add(first)
    trainer.train()
    trainer.publish()
    trainer.add(with_impressions(later) if shown else later)
    trainer.train()
    return trainer, trainer.publish()


@cache
def with_shown() -> tuple[Trainer, DynamicBundle]:
    return continued(shown=True)


def names_of(bundle: DynamicBundle) -> list[str]:
    assert bundle.head is not None
    return [name for name in bundle.head.names if is_of_impressions(name)]


def test_without_impressions_nothing_is_read_and_every_bit_is_as_before() -> None:
    ranking = replace(HEADED.ranking, shown_half_lives_days=())
    without = continued(False, replace(HEADED, ranking=ranking))[1]
    default = continued(False)[1]
    assert names_of(default) == []
    assert default.head is not None
    assert without.head is not None
    for name, values in default.head.state_dict().items():
        assert torch.equal(values, without.head.state_dict()[name]), name
    # And where impressions come, but are not to be read.
    assert names_of(continued(True, replace(HEADED, ranking=ranking))[1]) == []


def test_the_first_impressions_make_the_head_read_them_and_do_not_restart_it() -> None:
    trainer, bundle = with_shown()
    assert names_of(bundle) == [
        "z:shown@1d", "z:shown@30d", "shown@1d", "shown@30d"
    ]  # fmt: skip
    learning = trainer._ranking
    assert learning is not None
    assert learning._head is not None
    plain = continued(shown=False)[0]._ranking
    assert plain is not None
    assert plain._head is not None
    assert learning._head._steps == plain._head._steps, "it goes on from the first lesson"
    assert learning._head.held == plain._head.held


def test_a_head_learns_what_impressions_tell() -> None:
    """Shown often and not taken: behind where it stood without the impressions."""
    bundle = with_shown()[1]
    static, served = headed().static, Recommender(bundle, live_of(headed().examples))
    one = ListSettings(name="one", k=10)
    moved = []
    for topic in range(6):
        rows = np.flatnonzero(static.topic == topic)
        user = make_user(static, rows[:2].tolist(), now_ms=NOW_MS)
        before = served.recommend([user], [one], NOW_MS)[0]["one"].rows
        top = before[:3]
        seen = items_of([(int(static.item_keys[row]), NOW_MS // DAY_MS - 1, 4) for row in top])
        after = list(served.recommend([replace(user, shown=seen)], [one], NOW_MS)[0]["one"].rows)
        moved += [after.index(row) - place if row in after else 10 for place, row in enumerate(top)]
    assert np.mean(moved) > 2


def user_of(batch: ExampleBatch, row: int) -> UserState:
    """The user of an example just before the event, as a worker's state has it."""
    entries = slice(batch.indptr[row], batch.indptr[row + 1])
    assert batch.shown is not None
    own = slice(batch.shown.indptr[row], batch.shown.indptr[row + 1])
    return UserState(
        user_id="u", history_item=batch.history_item[entries],
        history_time=batch.history_time[entries], history_strong=batch.history_strong[entries],
        country=batch.country[row], birth_year=int(batch.birth_year[row]),
        shown=ShownItems(
            items=batch.shown.item[own], begin=batch.shown.end[own] - DAY_MS,
            count=batch.shown.count[own].astype(np.int64),
        ),
    )  # fmt: skip


def test_serving_reads_of_impressions_what_training_read() -> None:
    bundle = with_shown()[1]
    later = make_examples(headed().static, 40, first_offset=9_000, seed=8)
    batch = with_impressions(replace(later, timestamp=later.timestamp + 65 * DAY_MS))
    read = ranking_settings(bundle)
    assert read is not None
    maker = ListMaker(bundle, read)
    assert bundle.head is not None
    columns = [n for n, name in enumerate(bundle.head.names) if is_of_impressions(name)]
    recommender, differ = Recommender(bundle), 0
    assert recommender.head is not None
    served, rows = recommender.head._maker, ItemRows(bundle.item_keys)
    for row in range(len(batch)):
        now_ms = int(batch.timestamp[row])
        demand = recommender._demand.at(now_ms)
        example = asked_of(bundle, pad(batch.take(np.array([row])), 10, 0), rows)
        made = maker.propose(example, row % 2, demand)
        asked, _ = recommender.asked([user_of(batch, row)], now_ms)
        read_again = served.read(asked, made.rows, demand, served.neighbours(asked), mixed=False)
        again, features = read_again.features(), made.values.features()
        np.testing.assert_array_equal(again[:, :, columns], features[:, :, columns])
        differ += int((np.ptp(features[0][:, columns[-1]]) > 0).any())
    assert differ > 10, "some candidates were shown and others were not"


def test_bundles_from_before_impressions_are_served_as_they_were() -> None:
    static, user = headed().static, make_user(headed().static, [0, 6], now_ms=NOW_MS)
    served = Recommender(headed().bundle, live_of(headed().examples))
    assert served.head is not None
    assert not served.head.reads_shown
    seen = items_of([(int(key), NOW_MS // DAY_MS - 1, 9) for key in static.item_keys[:50]])
    users = (user, replace(user, shown=seen))
    one, other = (served.recommend([each], [MIX], NOW_MS)[0]["mix"] for each in users)
    assert list(one.rows) == list(other.rows)
    assert one.scores.tolist() == other.scores.tolist()


def test_the_parts_of_a_score_have_impressions_and_sum_to_it() -> None:
    static = headed().static
    served = Recommender(with_shown()[1], live_of(headed().examples))
    seen = items_of([(int(key), NOW_MS // DAY_MS - 1, 4) for key in static.item_keys[::3]])
    user = replace(make_user(static, [0, 6, 12], now_ms=NOW_MS), shown=seen)
    ranking = explain(served, user, MIX, end=10, now_ms=NOW_MS)
    assert ranking.by_head
    parts = [one.parts for one in ranking.why]
    for part, score in zip(parts, ranking.scores.tolist(), strict=True):
        assert sum(part.values()) == pytest.approx(score, abs=2e-4)
    assert any(abs(part["shown"]) > 0.01 for part in parts)


def test_a_trainer_that_reads_impressions_comes_back_from_a_checkpoint() -> None:
    trainer, bundle = with_shown()
    learning = trainer._ranking
    assert learning is not None
    again = type(learning)(HEADED.ranking, history_cap=HEADED.replay.history_cap, seed=7)
    again.restore(learning.saved())
    head = again.publish(bundle)
    assert isinstance(head, RankingHead)
    assert bundle.head is not None
    assert head.names == bundle.head.names
