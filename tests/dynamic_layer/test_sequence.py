"""The sequence tower: what it may look at, what it learns, and how its windows are cut."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from dynamic_layer.towers.sequence_fit import (
    FitSettings,
    SequenceModel,
    Sequences,
    Windows,
    drawn_softmax,
    fit,
    neighbour_vectors,
)
from dynamic_layer.towers.sequence_tower import (
    GAPS,
    SequenceItems,
    SequenceShape,
    SequenceTower,
    gap_buckets,
)

SMALL = SequenceShape(width=16, length=12, lags=4, blocks=2, heads=2)
QUICK = FitSettings(negatives=20, tokens=256, steps=1, epochs=30, learning_rate=3e-3)


def walks(seed: int, users: int = 200, items: int = 30, steps: int = 9) -> Sequences:
    """Users walk along a circle of items from random places, one step every minute."""
    rng = np.random.default_rng(seed)
    step, user = np.divmod(np.arange(users * steps), users)
    item = (rng.integers(0, items, users)[user] + step) % items
    return Sequences.of(user, item, step * 60_000, users)


def stirred_tower(seed: int = 0) -> SequenceTower:
    """A tower whose corrections are not zero, as after training."""
    torch.manual_seed(seed)
    tower = SequenceTower(SMALL).eval()
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return tower


def test_what_comes_later_changes_nothing_before() -> None:
    tower = stirred_tower()
    vectors, gaps = torch.randn(3, 12, 16), torch.randint(GAPS, (3, 12))
    found = tower(vectors, gaps)
    for place in range(1, 12):
        other_vectors, other_gaps = vectors.clone(), gaps.clone()
        other_vectors[:, place:] += 1.0
        other_gaps[:, place:] = (gaps[:, place:] + 1) % GAPS
        changed = tower(other_vectors, other_gaps)
        torch.testing.assert_close(changed[:, :place], found[:, :place])
        assert (changed[:, place] - found[:, place]).abs().max() > 0.1


def test_a_user_is_the_same_alone_and_beside_longer_histories() -> None:
    known = Sequences.of(
        np.array([0, 0, 1, 1, 1, 1, 1]), np.array([3, 4, 0, 1, 2, 3, 5]),
        np.arange(7) * 60_000, 3,
    )  # fmt: skip
    items = SequenceItems(np.random.default_rng(0).standard_normal((6, 16), np.float32), None)
    model = SequenceModel(stirred_tower(), items, 12)
    together = model.queries(known, np.array([1, 0, 2]))
    for place, user in enumerate([1, 0]):
        alone = model.queries(known, np.array([user]))
        np.testing.assert_allclose(together[place], alone[0], rtol=1e-4, atol=1e-5)
    assert not together[2].any()  # nothing is known of the third


def test_only_the_latest_events_are_read() -> None:
    items = SequenceItems(np.random.default_rng(0).standard_normal((40, 16), np.float32), None)
    model = SequenceModel(stirred_tower(), items, 12)
    item, none = np.arange(30), np.zeros(30, np.int64)
    whole = Sequences.of(none, item, np.arange(30) * 60_000, 1)
    late = Sequences.of(none[18:], item[18:], np.arange(18, 30) * 60_000, 1)
    late.gap[0] = whole.gap[18]
    found = model.queries(whole, np.array([0]))
    np.testing.assert_allclose(found, model.queries(late, np.array([0])), rtol=1e-5)


def test_before_training_it_is_the_recency_weighted_sum_of_the_last_items() -> None:
    tower = SequenceTower(SMALL).eval()
    torch.nn.init.zeros_(tower.places.weight)
    torch.nn.init.zeros_(tower.gaps.weight)
    vectors = torch.randn(1, 6, 16)
    last = tower(vectors, torch.zeros(1, 6, dtype=torch.long))[0, 5]
    expected = sum(w * vectors[0, 5 - lag] for lag, w in enumerate([1.0, 0.7, 0.5, 0.4]))
    torch.testing.assert_close(last, expected)


@pytest.mark.parametrize("seed", range(5))
def test_every_event_but_a_users_first_is_a_target_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, 40, 600) ** 2 // 60)
    known = Sequences.of(user, np.arange(600), np.arange(600) * 1000, 40)
    windows = Windows(sequences=known, length=7, tokens=64)
    targets = []
    for start, size in windows.epoch(rng):
        assert size.min() >= 2
        assert size.max() <= 8
        targets += [
            place for s, n in zip(start, size, strict=True) for place in range(s + 1, s + n)
        ]
        owner = np.searchsorted(known.indptr, start, side="right")
        assert (known.indptr[owner] >= start + size).all()  # no window holds two users
    firsts = set(known.indptr[:-1][np.diff(known.indptr) > 0].tolist())
    assert sorted(targets) == [place for place in range(600) if place not in firsts]


def test_gaps_are_buckets_of_doubling_seconds() -> None:
    timestamp = np.array([0, 0, 1_000, 4_000, 4_000, 10**14])
    first = np.array([True, False, False, False, True, False])
    assert gap_buckets(timestamp, first).tolist() == [0, 1, 2, 3, 0, GAPS - 1]


def test_neighbours_on_a_walk_have_near_vectors() -> None:
    vectors = neighbour_vectors(walks(0), 30, 12, FitSettings(span=2))
    dots = vectors @ vectors.T
    np.fill_diagonal(dots, -np.inf)
    away = np.abs(np.argmax(dots, axis=1) - np.arange(30))
    assert (np.minimum(away, 30 - away) <= 2).all()
    assert not neighbour_vectors(walks(0), 31, 12)[30].any()  # no event, no neighbour


def test_the_drawn_softmax_estimates_the_whole_one() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    items = SequenceItems(rng.standard_normal((50, 8), np.float32), None)
    torch.nn.init.normal_(items.bias)
    found, target = torch.randn(20, 8), torch.randint(50, (20,))
    whole = F.cross_entropy(found @ items.own.weight[:-1].T + items.bias, target)
    pool = torch.arange(50)
    drawn = torch.stack([drawn_softmax(found, target, items, pool, 400) for _ in range(200)]).mean()
    assert float(drawn.detach()) == pytest.approx(float(whole.detach()), rel=0.02)


def hits(model: SequenceModel, known: Sequences, steps: int) -> float:
    """Share of users whose next step on the circle of 30 has the greatest score."""
    users = np.arange(len(known.indptr) - 1)
    scores = model.queries(known, users) @ model.vectors().T + model.bias()
    last = known.item[known.indptr[1:] - 1]
    assert steps == int(np.diff(known.indptr).max())
    return float((scores.argmax(axis=1) == (last + 1) % 30).mean())


def test_it_learns_a_walk_which_counting_neighbours_cannot_tell() -> None:
    # The step before and the step after are neighbours alike; only order tells them apart.
    known = walks(0)
    untrained = fit(known, 30, seed=1, shape=SMALL, settings=FitSettings(epochs=0))
    model = fit(known, 30, seed=1, shape=SMALL, settings=QUICK)
    assert hits(untrained, known, 9) < 0.5
    assert hits(model, known, 9) > 0.9


def test_equal_seeds_give_equal_towers() -> None:
    known, users = walks(1), np.arange(20)
    short = FitSettings(negatives=20, tokens=256, steps=1, epochs=1)
    first, again, other = (
        fit(known, 30, seed=seed, shape=SMALL, settings=short).queries(known, users)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_an_item_without_events_is_known_by_its_content() -> None:
    # Two groups of items; a user stays in one. Content names the group, of the new items too.
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(200), 8)
    item = (user % 2) * 20 + rng.integers(0, 18, len(user))  # items 18, 19, 38, 39 have no events
    content = np.eye(2, dtype=np.float32)[np.arange(40) // 20]
    known = Sequences.of(user, item, np.tile(np.arange(8), 200) * 60_000, 200)
    model = fit(known, 40, seed=1, content=content, shape=SMALL, settings=QUICK)
    scores = model.queries(known, np.arange(200)) @ model.vectors().T
    own = np.where(np.arange(200) % 2 == 0, scores[:, 18], scores[:, 38])
    foreign = np.where(np.arange(200) % 2 == 0, scores[:, 38], scores[:, 18])
    assert (own > foreign).mean() > 0.95
