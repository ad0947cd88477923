"""The ranking head in the stream: what it reads, when it learns, when it serves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynamic_layer import (
    DynamicBundle,
    ExampleBatch,
    GateSettings,
    HeldOut,
    ListSettings,
    LivePopularity,
    NewItems,
    RankingHead,
    Recommender,
    Saved,
    Trainer,
    TrainerCheckpoints,
    UserState,
    default_lists,
    judge,
)
from dynamic_layer.examples.replay import PaddedExamples, pad
from dynamic_layer.head.ranking_head import HeadTrainer, Lists
from dynamic_layer.index.item_index import Hits, ItemIndex
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.asking import asking
from dynamic_layer.lists.head_learning import (
    asked_of,
    made_lists,
    ranking_settings,
)
from dynamic_layer.lists.head_ranker import HeadRanker
from dynamic_layer.lists.hit_rates import HitRates, hit_rates
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.serving.batch import WITHOUT_HEAD
from dynamic_layer.serving.user_reading import features_of, histories_of, tower_part
from state.items import item_key
from tests.dynamic_layer.headed import (
    HEADED,
    HOUR_MS,
    NOW_MS,
    count_into,
    headed,
    live_of,
    put,
)
from tests.dynamic_layer.worlds import (
    DAY_MS,
    Items,
    make_examples,
    make_user,
)


@pytest.fixture(scope="module")
def static() -> Items:
    return headed().static


@pytest.fixture(scope="module")
def examples() -> ExampleBatch:
    return headed().examples


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return headed().trainer


@pytest.fixture(scope="module")
def bundle() -> DynamicBundle:
    return headed().bundle


def asked(batch: ExampleBatch, row: int) -> UserState:
    """The user of an example as a worker knew him just before the event."""
    entries = slice(batch.indptr[row], batch.indptr[row + 1])
    return UserState(
        user_id="u",
        history_item=batch.history_item[entries],
        history_time=batch.history_time[entries],
        history_strong=batch.history_strong[entries],
        country=batch.country[row],
        birth_year=int(batch.birth_year[row]),
    )


def test_serving_reads_the_features_that_training_read(
    static: Items, bundle: DynamicBundle, examples: ExampleBatch
) -> None:
    batch, live = examples.take(np.arange(1_950, 1_990)), live_of(examples)
    settings = ranking_settings(bundle)
    assert settings is not None
    maker = ListMaker(bundle, settings)
    halves = settings.demand_half_lives_days
    # A bundle of two days before: demand since then is the worker's own.
    made_ms = int(batch.timestamp.min()) - 2 * DAY_MS
    items = len(static.item_keys)
    before = DemandReader(live, ItemRows(static.item_keys), items, halves).at(made_ms)
    since = LivePopularity(bucket_ms=HOUR_MS, window_buckets=90 * 24)
    count_into(since, examples.take(np.flatnonzero(examples.timestamp >= before.at_ms)))
    recommender, seen = Recommender(replace(bundle, demand=before), since), 0
    for row in range(len(batch)):
        alone = pad(batch.take(np.array([row])), HEADED.replay.history_cap, 0)
        for made in made_lists(bundle, maker, alone, live, halves):
            place = 0
            user, now_ms = asked(batch, row), int(batch.timestamp[row])
            history = histories_of([user], recommender.rows)
            features = features_of([user], history, now_ms)
            users = asking(
                bundle,
                bundle.user_vectors(tower_part(features, bundle.history_cap)),
                history=history,
                age_s=features.age_s.numpy(),
                strong=features.strong.numpy(),
            )
            target = int(np.flatnonzero(static.item_keys == batch.target[row])[0])
            number = int(bundle.features.type_number[target])
            assert recommender.head is not None
            served = recommender.head._maker.propose(users, number, recommender._demand.at(now_ms))
            inside = made.lists.valid[place]
            assert (served.rows[0] == target).any() == made.lists.label[place].any()
            np.testing.assert_allclose(
                served.values.features()[0][: inside.sum()],
                made.lists.features[place][inside].astype(np.float32),
                atol=4e-3, rtol=2e-3,
            )  # fmt: skip
            seen += 1
    assert seen == 40


def long_histories(static: Items) -> ExampleBatch:
    """Examples of users who know 30 items and previewed the 31st, of the target's topic."""
    batch = make_examples(static, 60)
    rng = np.random.default_rng(4)
    others = [np.flatnonzero(static.item_keys != target) for target in batch.target]
    history = np.stack([rng.permutation(rows)[:31] for rows in others])
    return replace(
        batch,
        strong=np.ones(60, np.bool_),
        indptr=31 * np.arange(61),
        history_item=static.item_keys[history].ravel(),
        history_time=(batch.timestamp[:, None] - HOUR_MS * np.arange(1, 32)).ravel(),
        history_strong=np.tile(np.arange(31) < 30, 60),
    )


def test_training_lists_hold_what_serving_would_and_nothing_that_the_user_knew(
    static: Items, bundle: DynamicBundle, examples: ExampleBatch
) -> None:
    """Known items beyond those that the towers read are no candidates; previewed ones are."""
    batch, live = long_histories(static), live_of(examples)
    settings = ranking_settings(bundle)
    assert settings is not None
    assert HEADED.replay.history_cap < 30
    maker, halves = ListMaker(bundle, settings), settings.demand_half_lives_days
    padded, weak = pad(batch, 512, 0), 0
    type_number = bundle.features.type_number.numpy()
    for row in range(len(batch)):
        user = asked(batch, row)
        known = set(ItemRows(static.item_keys)(user.history_item[:30]).tolist())
        previewed = int(ItemRows(static.item_keys)(user.history_item[30:])[0])
        [made] = made_lists(bundle, maker, padded.take(np.array([row])), live, halves)
        rows = proposed_rows(bundle, maker, padded.take(np.array([row])), live, halves)
        assert len(rows) == made.lists.valid.sum()
        assert not known & rows
        target = int(ItemRows(static.item_keys)(batch.target[row : row + 1])[0])
        if type_number[previewed] == type_number[target]:
            assert previewed in rows
            weak += 1
    assert weak > 10


def proposed_rows(
    bundle: DynamicBundle,
    maker: ListMaker,
    one: PaddedExamples,
    live: LivePopularity,
    halves: tuple[float, ...],
) -> set[int]:
    """Rows that the list maker proposes for an example."""
    rows = ItemRows(bundle.item_keys)
    demand = DemandReader(live, rows, len(bundle.item_keys), halves).at(int(one.timestamp[0]))
    number = int(bundle.features.type_number[int(rows(one.target)[0])])
    found = maker.propose(asked_of(bundle, one, rows), number, demand).rows
    return set(found[found >= 0].tolist())


def test_what_comes_later_changes_no_feature(
    static: Items, bundle: DynamicBundle, examples: ExampleBatch
) -> None:
    batch = pad(examples.take(np.arange(1_000, 1_030)), HEADED.replay.history_cap, 0)
    settings = ranking_settings(bundle)
    assert settings is not None
    maker, halves = ListMaker(bundle, settings), settings.demand_half_lives_days
    live = live_of(examples)
    before = list(made_lists(bundle, maker, batch, live, halves))
    first = int(batch.timestamp.max()) // HOUR_MS
    # The newest buckets stay, so that nothing leaves the window; a burst begins in the last one's.
    for bucket in range(first, first + 3):
        put(live, bucket, static.item_keys, np.full(len(static.item_keys), 10_000))
    after = list(made_lists(bundle, maker, batch, live, halves))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.lists.features, other.lists.features)


def test_the_first_head_learns_from_examples_that_its_towers_had_not_seen(
    static: Items, examples: ExampleBatch
) -> None:
    # Of many examples a share, of few at least a number, in whole batches.
    share = HEADED.ranking.first_share
    for least in (0, 1_000, 10_000):
        settings = replace(HEADED, ranking=replace(HEADED.ranking, first_least=least))
        trainer = Trainer(static, settings, seed=7, ranking=True)
        accepted = trainer.add(examples).accepted
        trainer.train(max_steps=1)
        learning = trainer._ranking
        assert learning is not None
        assert not learning.ready
        trainer.train()
        assert learning.ready
        most = min(max(share * accepted, least), accepted - 1)
        assert most - settings.batch_size < accepted - learning._first <= most
    frozen = learning._bundle
    assert frozen is not None
    assert frozen.head is None
    trainer.publish()
    assert learning._first == accepted, "what came before the bundle never teaches again"


def test_a_lesson_says_how_many_lists_it_has_made(
    static: Items, examples: ExampleBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(static, HEADED, seed=7, ranking=True)
    trainer.add(examples)
    trainer.train()
    seen = []
    add = HeadTrainer.add

    def watched(head: HeadTrainer, lists: Lists) -> int:
        seen.append(trainer.lists_made)
        return add(head, lists)

    monkeypatch.setattr(HeadTrainer, "add", watched)
    assert trainer.lists_made == (0, 0)
    trainer.publish()
    made, lists = zip(*seen, strict=True)
    assert made[0] == 0
    assert list(made) == sorted(set(made))
    assert len({*lists}) == 1
    assert lists[0] > made[-1]
    assert trainer.lists_made == (0, 0)


def test_examples_whose_target_is_no_candidate_are_made_up_for_by_others(
    static: Items, examples: ExampleBatch
) -> None:
    few = replace(
        HEADED.ranking, towers=6, neighbours=4, demand=2, limit=12, first_least=2_000, min_lists=1
    )
    held, made = {}, {}
    for most in (100, 400):
        settings = replace(HEADED, ranking=replace(few, first_lists=most))
        trainer = Trainer(static, settings, seed=7, ranking=True)
        trainer.add(examples)
        trainer.train()
        bundle = trainer.publish()
        assert trainer._ranking is not None
        assert trainer._ranking._head is not None
        held[most] = trainer._ranking._head.held
        made[most] = bundle.manifest["metrics"]["prequential_examples"]
        share = held[most] / made[most]
        reach = bundle.manifest["reach"]
        assert min(reach.values()) <= share <= max(reach.values())
    assert held[100] < made[100] <= 400
    # Of a hundred lists a part teaches: as many more are made as that leaves to be desired.
    assert held[100] == pytest.approx(100, rel=0.2)
    assert held[400] > 1.5 * held[100]


def test_a_type_whose_candidates_often_lack_the_answer_comes_later_in_mixed_lists(
    bundle: DynamicBundle, static: Items
) -> None:
    numbers = list(range(len(bundle.types)))
    even = dict.fromkeys(bundle.types, 0.5)
    users, mix = [make_user(static, [0, 6], now_ms=NOW_MS)], [ListSettings(name="mix", k=20)]
    counts = {}
    for name in (None, bundle.types[0], bundle.types[1]):
        reach = even if name is None else even | {name: 0.05}
        one = replace(bundle, manifest=bundle.manifest | {"reach": reach})
        found = Recommender(one).recommend(users, [ListSettings(name="mix", k=20)], NOW_MS)[0][
            "mix"
        ]
        counts[name] = [found.item_types.count(bundle.types[number]) for number in numbers]
    for number, name in enumerate(bundle.types[:2]):
        assert counts[name][number] < counts[None][number]
    old = replace(bundle, manifest={k: v for k, v in bundle.manifest.items() if k != "reach"})
    found = Recommender(old).recommend(users, mix, NOW_MS)[0]["mix"]
    # A bundle of an earlier version says nothing of it, and all types are alike.
    assert [found.item_types.count(name) for name in bundle.types] == counts[None]


def test_a_head_is_judged_before_it_learns_from_an_example(
    trainer: Trainer, bundle: DynamicBundle, static: Items
) -> None:
    later = make_examples(static, 600, first_offset=2_000, seed=9)
    trainer.add(replace(later, timestamp=later.timestamp + 31 * DAY_MS))
    again = trainer.publish()
    figures = again.manifest["metrics"]
    assert figures["prequential_examples"] > 300
    assert figures["prequential_hr_at_10"] > 0.3
    assert "prequential_hr_at_10" not in bundle.manifest["metrics"], "there was none to judge"


def test_the_head_beats_the_towers_where_there_is_more_to_know(
    trainer: Trainer, bundle: DynamicBundle
) -> None:
    head, towers, *_ = hit_rates(bundle, trainer.holdout(), trainer.popularity)
    assert head > 1.2 * towers


def test_a_head_that_ranks_worse_than_its_towers_is_left_out(
    static: Items, examples: ExampleBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(static, HEADED, seed=7, ranking=True)
    trainer.add(examples)
    trainer.train()
    publish = trainer._ranking.publish  # type: ignore[union-attr]
    monkeypatch.setattr(trainer._ranking, "publish", lambda made: upside_down(publish(made)))
    assert trainer.publish().head is None


@pytest.mark.parametrize(
    ("better", "worse", "served"), [(4, 6, True), (0, 0, True), (9, 1, True), (1, 9, False)]
)
def test_a_head_is_left_out_only_where_the_towers_are_ahead_by_more_than_chance(
    better: int, worse: int, served: bool, static: Items, examples: ExampleBatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    trainer = Trainer(static, HEADED, seed=7, ranking=True)
    trainer.add(examples)
    trainer.train()
    monkeypatch.setattr(
        "dynamic_layer.training.trainer.hit_rates", lambda *_: HitRates(0.3, 0.3, better, worse)
    )
    assert (trainer.publish().head is not None) is served


def upside_down(head: RankingHead | None) -> RankingHead:
    assert head is not None
    with torch.no_grad():
        for weight in (head.linear.weight, head.outer.weight):  # type: ignore[union-attr]
            weight.mul_(-1)
    return head


def test_the_gate_refuses_heads_that_are_broken_or_worse(
    trainer: Trainer, bundle: DynamicBundle
) -> None:
    held_out, demand = trainer.holdout(), trainer.popularity
    assert len(held_out) > 150
    held_out = held_out.take(np.resize(np.arange(len(held_out)), 256))
    copy = RankingHead(bundle.head.names, bundle.head.hidden)  # type: ignore[union-attr]
    copy.load_state_dict(bundle.head.state_dict())  # type: ignore[union-attr]
    worse = replace(bundle, head=upside_down(copy))
    assert any(
        "HR@10" in r
        for r in judge(worse, bundle, HeldOut(held_out, demand), GateSettings()).reasons
    )
    assert judge(bundle, bundle, HeldOut(held_out, demand), GateSettings()).reasons == []
    with torch.no_grad():
        copy.linear.weight[0, 0] = torch.nan
    assert "finite" in judge(worse, bundle, HeldOut(held_out, demand), GateSettings()).reasons[0]


def test_a_bundle_keeps_its_head_weights_and_demand_on_disk(
    bundle: DynamicBundle, static: Items, tmp_path: Path
) -> None:
    bundle.save(tmp_path)
    loaded = DynamicBundle.load(tmp_path)
    users = [make_user(static, [row, row + 6], now_ms=NOW_MS) for row in range(6)]
    lists = default_lists(bundle.types)
    for one, other in zip(
        Recommender(bundle).recommend(users, lists, NOW_MS),
        Recommender(loaded).recommend(users, lists, NOW_MS),
        strict=True,
    ):
        for name, ranking in one.items():
            assert ranking.item_ids == other[name].item_ids
            np.testing.assert_allclose(ranking.scores, other[name].scores, atol=1e-5)


def test_bundles_without_a_head_and_workers_told_so_rank_by_the_towers(
    bundle: DynamicBundle, static: Items
) -> None:
    user = make_user(static, [0, 6], now_ms=NOW_MS)
    lists = default_lists(bundle.types)
    settings = {k: v for k, v in bundle.manifest["settings"].items() if k != "ranking"}
    manifest = bundle.manifest | {"settings": settings}
    old = replace(bundle, head=None, demand=None, weights={}, manifest=manifest)
    by_towers = Recommender(old).recommend([user], lists, NOW_MS)[0]
    told = Recommender(bundle, use_head=False).recommend([user], lists, NOW_MS)[0]
    with_head = Recommender(bundle)
    by_head = with_head.recommend([user], lists, NOW_MS)[0]
    assert {n: r.item_ids for n, r in by_towers.items()} == {n: r.item_ids for n, r in told.items()}
    assert any(by_head[n].item_ids != told[n].item_ids for n in told)
    assert all(one.by_head for one in by_head.values())
    assert not any(one.by_head for lists in (by_towers, told) for one in lists.values())


def test_lists_of_an_overloaded_worker_are_those_without_the_head(
    bundle: DynamicBundle, static: Items
) -> None:
    users = [make_user(static, [0, 6], now_ms=NOW_MS), make_user(static, [], now_ms=NOW_MS)]
    lists = [ListSettings(name=name, repeats=name) for name in ("exclude", "include", "only")]

    def made(recommender: Recommender, fewer: int) -> list[dict[str, tuple[list[str], bool]]]:
        found = recommender.recommend(users, lists, NOW_MS, fewer=fewer)
        return [{name: (one.item_ids, one.by_head) for name, one in of.items()} for of in found]

    wanted = made(Recommender(bundle, use_head=False), 1)
    assert made(Recommender(bundle), WITHOUT_HEAD) == wanted != made(Recommender(bundle), 1)


@pytest.mark.parametrize(("fewer", "rough"), [(1, False), (WITHOUT_HEAD, True)])
def test_only_an_overloaded_worker_searches_roughly_without_a_head(
    bundle: DynamicBundle, static: Items, monkeypatch: pytest.MonkeyPatch, fewer: int, rough: bool
) -> None:
    asked: list[bool] = []
    search = ItemIndex.search_type

    def noted(index: ItemIndex, *args: Any, rough: bool = False, **options: Any) -> Hits:
        asked.append(rough)
        return search(index, *args, rough=rough, **options)

    monkeypatch.setattr(ItemIndex, "search_type", noted)
    user = make_user(static, [0, 6], now_ms=NOW_MS)
    lists = default_lists(bundle.types)
    Recommender(bundle, use_head=False).recommend([user], lists, NOW_MS, fewer=fewer)
    assert asked
    assert set(asked) == {rough}


def test_a_head_ranks_fewer_candidates_where_many_users_wait(
    bundle: DynamicBundle, static: Items
) -> None:
    recommender = Recommender(bundle)
    head = recommender.head
    assert head is not None
    user = make_user(static, [0, 6], now_ms=NOW_MS)
    asked, _ = recommender.asked([user], NOW_MS)
    demand = recommender._demand.at(NOW_MS)
    most = HEADED.ranking.limit
    widths = [
        head._maker.propose(asked, 0, demand, fewer=fewer).rows.shape[1] for fewer in (1, 2, 4)
    ]
    assert widths[1:] == [most // 2, most // 4]
    assert widths[0] > most // 2
    by_quarter = head.best(asked, [0], demand, 2, fewer=4)[0]
    every = head._maker.propose(asked, 0, demand, fewer=4)
    assert set(by_quarter.rows[0].tolist()) <= set(every.rows[0].tolist())
    # A list keeps four candidates for each of its places.
    whole, hurried = (head.best(asked, [0], demand, most // 4, fewer=fewer)[0] for fewer in (1, 4))
    np.testing.assert_array_equal(whole.rows, hurried.rows)
    short = [ListSettings(name="short", k=2)]
    assert recommender.recommend([user], short, NOW_MS, fewer=4)[0]["short"].by_head


def test_a_list_is_full_where_a_head_ranks_fewer_candidates(
    bundle: DynamicBundle, static: Items
) -> None:
    recommender, places = Recommender(bundle), 10
    assert bundle.head is not None
    few = replace(HEADED.ranking, towers=places + 2, demand=1, limit=16 * places)
    head = HeadRanker(bundle, bundle.head, few, recommender._index)
    asked, _ = recommender.asked([make_user(static, [], now_ms=NOW_MS)], NOW_MS)
    found = head.best(asked, [0], recommender._demand.at(NOW_MS), places, fewer=4)[0]
    assert (found.rows >= 0).sum() == places


def test_lists_say_whether_the_head_ranked_them(bundle: DynamicBundle, static: Items) -> None:
    known = make_user(static, [0, 6], now_ms=NOW_MS)
    newcomer = make_user(static, [], now_ms=NOW_MS)
    lists = [
        ListSettings(name=name, repeats=name) for name in ("exclude", "include", "only")
    ]  # fmt: skip
    found, popular = Recommender(bundle).recommend([known, newcomer], lists, NOW_MS)
    assert {name: one.by_head for name, one in found.items()} == {
        "exclude": True,
        "include": False,
        "only": False,
    }
    assert not any(one.by_head for one in popular.values())


def test_lists_of_the_head_keep_their_promises(bundle: DynamicBundle, static: Items) -> None:
    recommender = Recommender(bundle)
    new = item_key("podcast", "new")
    recommender.add_items(NewItems(
        item_keys=np.array([new], np.uint64), item_ids=["new"], item_types=["podcast"],
        languages=["en"], genres=[None], text=static.text[:1]))  # fmt: skip
    history = [0, 12, 24]
    user = replace(
        make_user(static, history, now_ms=NOW_MS),
        history_item=np.append(static.item_keys[history], np.uint64(new)),
        history_time=NOW_MS - np.arange(1, 5) * HOUR_MS,
        history_strong=np.ones(4, bool),
    )
    first = recommender.recommend([user], default_lists(bundle.types), NOW_MS)[0]
    gone = static.item_keys[[int(i[1:]) for i in first["mix"].item_ids[:3]]]
    recommender.remove_items(gone)
    answer = recommender.recommend([user], default_lists(bundle.types), NOW_MS)[0]
    for name, ranking in answer.items():
        rows = [int(i[1:]) for i in ranking.item_ids]
        assert len(ranking) == 10
        assert len(set(rows)) == 10
        assert not {*rows} & {*history}
        assert not {*static.item_keys[rows].tolist()} & {*gone.tolist()}
        assert (np.diff(ranking.scores) <= 0).all()
        if name != "mix":
            assert {*ranking.item_types} == {name.removeprefix("discover-")}
    # All that this user had are podcasts: they lead where types are mixed.
    assert first["mix"].item_types.count("podcast") > 5


def test_a_new_item_is_a_candidate_of_the_head(bundle: DynamicBundle, static: Items) -> None:
    settings = bundle.manifest["settings"]
    wide = settings["ranking"] | {"towers": 100, "limit": 100}
    manifest = bundle.manifest | {"settings": settings | {"ranking": wide}}
    recommender = Recommender(replace(bundle, manifest=manifest))
    recommender.add_items(NewItems(
        item_keys=np.array([item_key("podcast", "new")], np.uint64), item_ids=["new"],
        item_types=["podcast"], languages=["en"], genres=[None], text=static.text[:1]))  # fmt: skip
    everything = ListSettings(name="all", item_types=("podcast",), k=100)
    user = make_user(static, [0, 12, 24], now_ms=NOW_MS)
    assert "new" in recommender.recommend([user], [everything], NOW_MS)[0]["all"].item_ids


def test_live_counts_are_added_to_what_the_bundle_knew(
    bundle: DynamicBundle, static: Items
) -> None:
    nobody = make_user(static, [], now_ms=NOW_MS)
    mix = [ListSettings(name="mix")]
    made = Recommender(bundle).recommend([nobody], mix, NOW_MS)[0]["mix"].item_ids
    assert made[0] != "i50"
    live = LivePopularity(bucket_ms=HOUR_MS, window_buckets=48)
    recommender = Recommender(bundle, live)
    assert recommender.recommend([nobody], mix, NOW_MS)[0]["mix"].item_ids == made
    put(live, NOW_MS // HOUR_MS, static.item_keys[[50]], [1_000])
    later = NOW_MS + 5_000
    assert recommender.recommend([nobody], mix, later)[0]["mix"].item_ids[0] == "i50"


def test_items_that_came_after_the_bundle_have_their_own_live_counts(
    bundle: DynamicBundle, static: Items
) -> None:
    live = LivePopularity(bucket_ms=HOUR_MS, window_buckets=48)
    recommender = Recommender(bundle, live)
    nobody, mix = make_user(static, [], now_ms=NOW_MS), [ListSettings(name="mix")]
    keys = np.array([item_key("podcast", name) for name in ("hit", "flop", "late")], np.uint64)

    def come(rows: list[int]) -> None:
        recommender.add_items(NewItems(
            item_keys=keys[rows], item_ids=[("hit", "flop", "late")[row] for row in rows],
            item_types=["podcast"] * len(rows), languages=[None] * len(rows),
            genres=[None] * len(rows), text=static.text[rows]))  # fmt: skip

    def listed(now_ms: int) -> list[str]:
        return recommender.recommend([nobody], mix, now_ms)[0]["mix"].item_ids

    come([0, 1])
    assert "hit" not in listed(NOW_MS)
    put(live, NOW_MS // HOUR_MS, keys, [1_000, 0, 2_000])
    assert listed(NOW_MS + 5_000)[0] == "hit"
    come([2])
    assert listed(NOW_MS + 5_500)[0] == "hit", "what came now is not counted at once"
    assert listed(NOW_MS + 10_000)[:2] == ["late", "hit"]
    recommender.remove_items(keys[2:])
    assert listed(NOW_MS + 10_000)[0] == "hit"
    # The head reads whole hours. No item is between those of the bundle and the new ones.
    n, hour = len(static.item_keys), recommender._demand.at(NOW_MS + HOUR_MS)
    assert (hour.values[n] > 990).all()
    assert not hour.values[n + 1].any()
    assert recommender._demand.at(NOW_MS + HOUR_MS) is hour
    assert hour.order[1, 0] == n


def test_a_new_static_bundle_keeps_the_head_and_learns_from_later_examples_alone(
    static: Items, examples: ExampleBatch
) -> None:
    trainer = Trainer(static, HEADED, seed=7, ranking=True)
    trainer.add(examples)
    trainer.train()
    assert trainer.publish().head is not None
    static.manifest = {"name": "static-2", "offsets": {"segue.events": {"0": 1_000}}}
    trainer.adopt(static)
    trainer.train()
    again = trainer.publish()
    assert "prequential_examples" not in again.manifest["metrics"]
    learning = trainer._ranking
    assert learning is not None
    assert learning._first == trainer._replay.written
    static.manifest = {"name": "static-1", "offsets": {}}


def test_after_a_restart_the_head_learns_from_what_came_after_the_checkpoint(
    static: Items, examples: ExampleBatch, tmp_path: Path
) -> None:
    """Also for its first bundle: the towers of the checkpoint have not seen these examples."""
    trainer = Trainer(static, HEADED, seed=7, ranking=True)
    trainer.add(examples)
    trainer.train()
    trainer.publish()
    TrainerCheckpoints(tmp_path).write(trainer, Saved(values={}))
    again = Trainer(static, HEADED, seed=7, ranking=True)
    next(TrainerCheckpoints(tmp_path).newest()).restore(again)
    written = again._replay.written
    later = make_examples(static, 600, first_offset=2_000, seed=9)
    accepted = again.add(replace(later, timestamp=later.timestamp + 31 * DAY_MS)).accepted
    again.train()
    learning = again._ranking
    assert learning is not None
    assert learning._first == written, "nothing that the towers have seen"
    figures = again.publish().manifest["metrics"]
    assert 0.8 * accepted < figures["prequential_examples"] <= accepted
    assert learning._first == written + accepted


def test_a_head_ranks_what_is_disliked_nowhere_and_what_is_like_it_lower(
    bundle: DynamicBundle, static: Items
) -> None:
    recommender = Recommender(bundle)
    user = make_user(static, [0, 6, 12], now_ms=NOW_MS)
    lists = [ListSettings(name="mix"), ListSettings(name="podcasts", item_types=("podcast",))]
    before = recommender.recommend([user], lists, NOW_MS)[0]
    assert before["mix"].by_head
    first = static.item_keys[[*before["mix"].rows[:2], before["podcasts"].rows[0]]]
    after = recommender.recommend([replace(user, disliked=first)], lists, NOW_MS)[0]
    for one in after.values():
        assert one.by_head
        assert len(one) == 10
        assert not set(static.item_keys[list(one.rows)]) & set(first)
    same = replace(user, disliked=first, demotion=0.25)
    lower = recommender.recommend([same], lists, NOW_MS)[0]["mix"]
    assert lower.rows != after["mix"].rows
