"""A bundle that is behind live popularity serves popularity, by item type, and says so."""

from dataclasses import replace

import numpy as np
import pytest

from dynamic_layer import (
    DynamicBundle,
    HeldOut,
    ListSettings,
    RankingHead,
    Recommender,
    Trainer,
    default_lists,
    serve_popularity,
)
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.items.features import ItemRows
from dynamic_layer.measure.against_popularity import compared, popularity_hits
from dynamic_layer.measure.served_ranks import ServedRanks
from dynamic_layer.popularity.half_lives import demand_ranks
from tests.dynamic_layer.headed import NOW_MS, headed
from tests.dynamic_layer.worlds import Items, make_user


@pytest.fixture(scope="module")
def questions() -> PaddedExamples:
    trainer: Trainer = headed().trainer
    return trainer.holdout()


def copied(head: RankingHead | None = None) -> DynamicBundle:
    bundle = headed().bundle
    return replace(bundle, manifest=dict(bundle.manifest), head=head or bundle.head)


def backwards() -> DynamicBundle:
    """A bundle whose head puts the worst first."""
    bundle = headed().bundle
    assert bundle.head is not None
    head = RankingHead(bundle.head.names, hidden=0)
    head.begin({name: -5.0 for name in head.names if name.startswith("z:ease")})
    return copied(head.eval())


def test_a_good_bundle_serves_its_own_lists(questions: PaddedExamples) -> None:
    bundle = copied()
    found = serve_popularity(bundle, HeldOut(questions, headed().trainer.popularity))
    assert set(found) == set(bundle.types)
    assert all(one.hr_at_10 > one.popularity_hr_at_10 for one in found.values())
    assert bundle.popularity_types == frozenset()


def test_a_bundle_behind_popularity_serves_that(questions: PaddedExamples) -> None:
    bundle, popularity = backwards(), headed().trainer.popularity
    held_out = HeldOut(questions, popularity)
    found = serve_popularity(bundle, held_out)
    assert bundle.popularity_types == {*bundle.types}
    before = held_out.own_hits(bundle, len(held_out)).mean()
    after = held_out.served_hit_rate(bundle)
    assert before < after
    rates = [one.popularity_hr_at_10 * one.questions for one in found.values()]
    assert after == pytest.approx(sum(rates) / len(questions))
    ranks = ServedRanks(bundle).ask(questions, popularity)
    np.testing.assert_array_equal(ranks.served, ranks.popularity)


def test_popularity_hits_with_its_best_ten(questions: PaddedExamples) -> None:
    bundle, popularity = headed().bundle, headed().trainer.popularity
    type_number = bundle.features.type_number.numpy()
    rows, days = ItemRows(bundle.item_keys), sorted({*bundle.half_lives_days.values()})
    ranks = demand_ranks(
        questions, popularity, rows=rows, type_number=type_number, half_lives_days=days
    )
    types = np.array(bundle.types)[type_number[rows(questions.target)]]
    own = [days.index(bundle.half_lives_days[name]) for name in types]
    rank = ranks[np.arange(len(questions)), own]
    assert {9, 10} <= {*rank.tolist()}  # the last of ten, and the first behind them
    np.testing.assert_array_equal(popularity_hits(bundle, questions, popularity), rank <= 9)


def test_few_questions_decide_nothing(questions: PaddedExamples) -> None:
    bundle = backwards()
    few = HeldOut(questions.newest(40), headed().trainer.popularity)
    assert serve_popularity(bundle, few) == {}
    assert bundle.popularity_types == frozenset()


@pytest.mark.parametrize(("number", "decided"), [(63, False), (64, True)])
def test_a_type_is_decided_with_at_least_64_questions(
    questions: PaddedExamples, number: int, decided: bool
) -> None:
    bundle = headed().bundle
    rows = ItemRows(bundle.item_keys)(questions.target)
    types = np.array(bundle.types)[bundle.features.type_number.numpy()[rows]]
    asked = questions.take(np.flatnonzero((types == "podcast") & (rows >= 0))[:number])
    assert len(asked) == number
    misses = np.zeros(number, np.bool_)
    found = compared(bundle, misses, ~misses, asked)
    assert {name: one.questions for name, one in found.items()} == (
        {"podcast": number} if decided else {}
    )


@pytest.mark.parametrize(("more", "served"), [(-1, False), (0, False), (1, True)])
def test_popularity_is_served_where_it_has_more_hits(
    questions: PaddedExamples, more: int, served: bool
) -> None:
    bundle = headed().bundle
    type_number = bundle.features.type_number.numpy()[ItemRows(bundle.item_keys)(questions.target)]
    own = type_number == bundle.types.index("podcast")
    hits, popular = np.zeros((2, len(questions)), np.bool_)
    hits[np.flatnonzero(own)[:20]] = popular[np.flatnonzero(own)[-20 - more :]] = True
    popular[~own] = True  # hits of other types do not count
    found = compared(bundle, hits, popular, questions)["podcast"]
    assert found.questions == own.sum()
    assert found.hr_at_10 == pytest.approx(20 / own.sum())
    assert found.popularity_hr_at_10 == pytest.approx((20 + more) / own.sum())
    assert found.popularity == served


def test_targets_that_a_bundle_does_not_know_count_for_no_type(questions: PaddedExamples) -> None:
    bundle = headed().bundle
    numbers = bundle.features.type_number.numpy()[ItemRows(bundle.item_keys)(questions.target)]
    unknown = np.flatnonzero(numbers == bundle.types.index("podcast"))[::5]
    target = questions.target.copy()
    target[unknown] = 1
    assert (ItemRows(bundle.item_keys)(target[unknown]) < 0).all()
    numbers[unknown] = -1
    hits = np.zeros(len(target), np.bool_)
    found = compared(bundle, hits, hits, replace(questions, target=target))
    assert {name: one.questions for name, one in found.items()} == {
        name: (numbers == number).sum() for number, name in enumerate(bundle.types)
    }


def test_workers_list_what_is_in_demand_and_the_user_does_not_know() -> None:
    items: Items = headed().static
    bundle = copied()
    bundle.manifest["popularity_types"] = ["podcast"]
    recommender = Recommender(bundle)
    nobody = make_user(items, [], now_ms=NOW_MS)
    discover = next(s for s in default_lists(bundle.types) if s.name == "discover-podcast")
    longer = replace(discover, k=13)
    favourites = recommender.recommend([nobody], [longer], NOW_MS)[0][discover.name].item_ids
    known = [int(favourites[place][1:]) for place in (0, 2, 5)]
    user = make_user(items, known, now_ms=NOW_MS)
    lists = [*default_lists(bundle.types), ListSettings(name="all", repeats="include")]
    answer = recommender.recommend([user], lists, NOW_MS)[0]
    expected = [item for place, item in enumerate(favourites) if place not in (0, 2, 5)]
    assert answer["discover-podcast"].item_ids == expected[:10]
    assert not answer["discover-podcast"].by_head
    own = Recommender(headed().bundle).recommend([user], lists, NOW_MS)[0]
    assert own["discover-podcast"].item_ids != expected[:10]
    for name in ("discover-audiobook", "all"):
        assert answer[name].item_ids == own[name].item_ids
    assert answer["discover-audiobook"].by_head
    mixed = dict(zip(answer["mix"].item_ids, answer["mix"].item_types, strict=True))
    podcasts = [item for item, kind in mixed.items() if kind == "podcast"]
    assert podcasts == expected[: len(podcasts)]
