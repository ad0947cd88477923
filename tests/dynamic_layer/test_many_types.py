"""Many item types: nothing has a part for each of them, and lists over all cost one pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer import (
    DynamicBundle,
    DynamicSettings,
    HeadSettings,
    IndexSettings,
    ItemIndex,
    ListSettings,
    RankingSettings,
    Recommender,
    Trainer,
    UserState,
    default_lists,
)
from dynamic_layer.head.features import PairValues
from dynamic_layer.head.list_scores import ListScorer
from dynamic_layer.index.state import ALL_TYPES
from dynamic_layer.lists.asking import Asking, asking
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.demand import Demand, most_demanded
from dynamic_layer.serving.user_reading import features_of, histories_of, tower_part
from dynamic_layer.settings import SEPARATE_TYPES, TowerSettings
from dynamic_layer.towers.two_tower import TwoTower
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, Items, make_examples, make_items
from tests.dynamic_layer.worlds import make_user as user_of

TYPES = tuple(f"type-{number:02d}" for number in range(12))
NOW_MS = START_MS + 30 * DAY_MS
SETTINGS = replace(
    SMALL,
    ranking=RankingSettings(
        towers=20, neighbours=20, demand=10, limit=40, min_lists=20,
        head=HeadSettings(hidden=8, negatives=32, epochs=2.0),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def items() -> Items:
    found = make_items(n=240, names=TYPES)
    alike = (found.topic[:, None] == found.topic) & ~np.eye(240, dtype=bool)
    found.weights = {"ease": sp.csr_array(alike.astype(np.float32))}  # type: ignore[attr-defined]
    return found


def trained(items: Items, settings: DynamicSettings, *, ranking: bool) -> Trainer:
    trainer = Trainer(items, settings, seed=7, ranking=ranking)
    trainer.add(make_examples(items, 1_500))
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def bundle(items: Items) -> DynamicBundle:
    trainer = trained(items, SETTINGS, ranking=True)
    found = trainer.publish()
    assert trainer._ranking is not None
    # Whether it wins does not matter here.
    return replace(found, head=found.head or trainer._ranking.publish(found))


def test_towers_do_not_grow_with_the_types() -> None:
    def weights(types: int) -> int:
        tower = TwoTower(32, types, TowerSettings(layers=(16, 8))).user.tower
        return sum(part.numel() for part in tower.parameters())

    assert weights(5) == weights(40)
    assert weights(2) < weights(4), "a part for each of a few types, as in the paper"
    assert weights(40) < weights(4)


def test_the_user_tower_reads_what_types_were_met(items: Items) -> None:
    model = TwoTower(8, 6, TowerSettings(layers=(16, 8))).eval()
    from dynamic_layer.items.features import UserFeatures  # noqa: PLC0415

    content, number = torch.ones(2, 8), torch.tensor([0, 5])
    one = torch.ones(2, 1, dtype=torch.bool)
    zero = torch.zeros(2, dtype=torch.int64)
    users = UserFeatures(
        history=torch.tensor([[0], [1]]), age_s=torch.zeros(2, 1), strong=one, country=zero,
        age=zero,
    )  # fmt: skip
    first, second = model.user(users, content, number)
    assert not torch.allclose(first, second)
    same = model.user(users, content, torch.tensor([5, 5]))
    assert torch.allclose(same[0], same[1])


def found(index: ItemIndex, queries: NDArray[np.float32], k: int, **more: Any) -> list[list[int]]:
    rows: list[list[int]] = index.search(queries, k, **more).rows.tolist()
    return rows


def exactly(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int, alive: NDArray[np.bool_]
) -> list[list[int]]:
    scores = np.where(alive, queries @ vectors.T, -np.inf)
    best: list[list[int]] = np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist()
    return best


def test_a_search_over_all_types_is_one_search_and_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 8)).astype(np.float32)
    types = np.arange(300) % 12
    queries = rng.normal(size=(4, 8)).astype(np.float32)
    index = ItemIndex(vectors, types, IndexSettings())
    alive = np.ones(300, np.bool_)
    assert found(index, queries, 10) == exactly(vectors, queries, 10, alive)
    index.save(tmp_path)
    loaded = ItemIndex.load(tmp_path, vectors, types, IndexSettings())
    assert ALL_TYPES in loaded.built
    # What a bundle of an earlier version has: an index of each type.
    (tmp_path / "index-all.faiss").unlink()
    earlier = ItemIndex.load(tmp_path, vectors, types, IndexSettings())
    assert ALL_TYPES not in earlier.built
    for one in (loaded, earlier):
        assert found(one, queries, 10) == exactly(vectors, queries, 10, alive)
    more = rng.normal(size=(20, 8)).astype(np.float32)
    gone = np.array(found(index, queries, 3)[0])
    every, alive = np.concatenate([vectors, more]), np.ones(320, np.bool_)
    alive[gone] = False
    for one in (index, earlier):
        one.add(more, np.arange(20) % 12)
        one.remove(gone)
        assert found(one, queries, 10) == exactly(every, queries, 10, alive)
        assert len(one) == 317
        assert one.fresh == 20 - int((gone >= 300).sum())
    index.fold(ALL_TYPES)
    for number in range(12):
        index.fold(number)
    assert found(index, queries, 10) == exactly(every, queries, 10, alive)
    some = np.isin(np.concatenate([types, np.arange(20) % 12]), [1, 2, 3, 4, 5])
    assert found(index, queries, 10, types=[1, 2, 3, 4, 5]) == exactly(
        every, queries, 10, alive & some
    )
    banned = np.array(found(index, queries, 2))
    left = found(index, queries, 10, exclude=banned)
    assert all(not set(row) & set(out) for row, out in zip(left, banned.tolist(), strict=True))


def test_the_most_demanded_of_each_type_are_those_of_a_loop_over_types() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 4, size=(50, 2)).astype(np.float32)  # with ties
    nothing = np.zeros(50, np.float32)
    demand = Demand(
        at_ms=0, half_lives_days=(1.0, 7.0), values=values, age_days=nothing, silent_days=nothing
    )
    number = rng.integers(0, 5, size=60)  # ten items came after the demand was read
    got = most_demanded(demand, number, 7, 9)
    for of_type in range(7):
        rows = np.flatnonzero(number[:50] == of_type)
        for half in range(2):
            best = rows[np.argsort(-values[rows, half], kind="stable")][:9]
            assert got[of_type, half].tolist() == [*best.tolist(), *[-1] * (9 - len(best))]


def test_a_mixed_list_is_one_search_and_twice_the_candidates(
    items: Items, bundle: DynamicBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender(bundle)
    assert recommender.has_head
    searches: list[int] = []
    search = ItemIndex.search_type

    def counted(self: ItemIndex, queries: Any, number: int, *args: Any, **more: Any) -> Any:
        searches.append(number)
        return search(self, queries, number, *args, **more)

    monkeypatch.setattr(ItemIndex, "search_type", counted)
    widths: list[int] = []
    score = ListScorer.scores

    def measured(self: ListScorer, values: PairValues) -> NDArray[np.float32]:
        widths.append(values.valid.shape[1])
        return score(self, values)

    monkeypatch.setattr(ListScorer, "scores", measured)
    rows = np.flatnonzero(items.topic == 2)[:4].tolist()
    user = user_of(items, rows, now_ms=NOW_MS)
    answer = recommender.recommend([user], [ListSettings(name="mix")], NOW_MS)[0]["mix"]
    assert searches == [ALL_TYPES]
    assert len(widths) == 1
    assert SETTINGS.ranking.limit < widths[0] <= 2 * SETTINGS.ranking.limit
    assert answer.by_head
    assert len(answer) == 10 == len(set(answer.rows))
    assert not set(answer.rows) & set(rows)
    assert (np.diff(answer.scores) <= 0).all()
    searches.clear()
    few = ListSettings(name="few", item_types=TYPES[:2])
    recommender.recommend([user], [few], NOW_MS)
    assert sorted(searches) == [0, 1], "a few types are ranked one by one, as before"
    searches.clear()
    recommender.recommend([user], [ListSettings(name="mix")], NOW_MS, fewer=4)
    assert searches == [ALL_TYPES]
    some = ListSettings(name="some", item_types=TYPES[: SEPARATE_TYPES + 2])
    answer = recommender.recommend([user], [some], NOW_MS)[0]["some"]
    assert set(answer.item_types) <= set(TYPES[: SEPARATE_TYPES + 2])
    assert len(answer) == 10


def asked_users(bundle: DynamicBundle, recommender: Recommender, users: list[UserState]) -> Asking:
    """Users as the recommender hands them to its list maker."""
    history = histories_of(users, recommender.rows)
    features = features_of(users, history, NOW_MS)
    return asking(
        bundle,
        bundle.user_vectors(tower_part(features, bundle.history_cap)),
        history=history,
        age_s=features.age_s.numpy(),
        strong=features.strong.numpy(),
    )


def test_features_of_a_mixed_list_name_the_candidates_own_type(
    items: Items, bundle: DynamicBundle
) -> None:
    maker = ListMaker(bundle, SETTINGS.ranking)
    recommender = Recommender(bundle)
    rows = [0, 1, 2, 6]  # three of the first type and one of the second
    user = user_of(items, rows, now_ms=NOW_MS)

    users = asked_users(bundle, recommender, [user])
    demand = bundle.demand
    assert demand is not None
    made = maker.propose_mixed(users, range(12), demand)
    column = maker.names.index("type-share")
    number = bundle.features.type_number.numpy()
    valid = made.rows[0] >= 0
    own = number[made.rows[0][valid]]
    expected = np.select([own == 0, own == 1], [0.75, 0.25], 0.0)
    np.testing.assert_allclose(made.values.features()[0][valid][:, column], expected, atol=1e-6)
    assert len(set(own.tolist())) > 2
    assert not any(name.startswith("type-0") for name in maker.names)
    # Lists of several types made in one call are those made one by one.
    three = asked_users(bundle, recommender, [user] * 3)
    together = maker.propose(three, np.array([4, 0, 4]), demand)
    for place, of_type in enumerate([4, 0, 4]):
        alone = maker.propose(users, of_type, demand)
        width = int((alone.rows[0] >= 0).sum())
        assert (together.rows[place][:width] == alone.rows[0][:width]).all()
        assert (together.rows[place][width:] == -1).all()
        np.testing.assert_allclose(
            together.values.features()[place][:width], alone.values.features()[0][:width],
            atol=1e-5,
        )  # fmt: skip


def test_default_lists_are_one_where_there_are_many_types() -> None:
    assert [one.name for one in default_lists(TYPES)] == ["mix"]
    assert len(default_lists(TYPES[:SEPARATE_TYPES])) == 1 + SEPARATE_TYPES


def test_a_bundle_of_the_version_before_with_many_types_is_read(
    items: Items, tmp_path: Path
) -> None:
    settings = replace(
        SMALL,
        towers=replace(SMALL.towers, separate_types=len(TYPES)),
        ranking=RankingSettings(enabled=False),
    )
    before = trained(items, settings, ranking=False).publish()
    before.save(tmp_path)
    (tmp_path / "index-all.faiss").unlink()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["settings"]["towers"]["separate_types"]
    del manifest["hgnn"]["folded"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    loaded = DynamicBundle.load(tmp_path)
    user = user_of(items, [3, 9], now_ms=NOW_MS)
    lists = [ListSettings(name="mix")]
    one, other = (Recommender(b).recommend([user], lists, NOW_MS)[0] for b in (before, loaded))
    assert one["mix"].rows == other["mix"].rows


def test_weights_of_a_checkpoint_that_pools_by_type_are_left(items: Items) -> None:
    settings = replace(SMALL, towers=replace(SMALL.towers, separate_types=len(TYPES)))
    earlier = trained(items, settings, ranking=False)._learner.saved()
    now = Trainer(items, SMALL, seed=1)._learner
    assert not now.restore(earlier)
    del earlier.values["own"]["groups"]
    assert not now.restore(earlier), "earlier versions do not say"
    own = trained(items, SMALL, ranking=False)._learner
    assert now.restore(own.saved())
