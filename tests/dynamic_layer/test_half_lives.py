"""Half-lives of demand, chosen by the prequential measure's questions."""

from dataclasses import replace

import numpy as np

from dynamic_layer import DynamicBundle, ExampleBatch, Popularity, PopularitySettings, Trainer
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from dynamic_layer.popularity.demand import DemandReader
from dynamic_layer.popularity.demand_block import DemandRecord
from dynamic_layer.popularity.half_lives import HalfLives, demand_ranks
from dynamic_layer.popularity.live import LivePopularity
from dynamic_layer.serving.live_demand import LiveDemand
from tests.dynamic_layer.test_prequential import NEW, measure
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, Items, make_examples

HALVES = (0.5, 2.0, 60.0)
SETTINGS = PopularitySettings(half_lives_days=HALVES, bucket_hours=6.0)


def fashion(
    items: Items, n: int, *, stays_days: dict[str, float], seed: int = 1, days: int = 40
) -> ExampleBatch:
    """Events by fashion: a type has other favourites after so many days, as few as before."""
    rng = np.random.default_rng(seed)
    batch = make_examples(items, n, first_offset=NEW, seed=seed)
    time = START_MS + np.sort(rng.integers(days * DAY_MS, size=n))
    target, of_kind = np.zeros(n, np.uint64), rng.integers(len(stays_days), size=n)
    for number, (kind, stays) in enumerate(sorted(stays_days.items())):
        keys = items.item_keys[np.array(items.item_types) == kind]
        epoch = ((time - START_MS) / DAY_MS / stays).astype(int)
        for one in np.unique(epoch):
            rows = np.flatnonzero((epoch == one) & (of_kind == number))
            favoured = np.random.default_rng([one, number]).permutation(keys)
            target[rows] = favoured[(len(keys) * rng.random(len(rows)) ** 2).astype(int)]
    return replace(
        batch,
        target=target, timestamp=time, strong=np.ones(n, np.bool_),
        history_time=np.minimum(batch.history_time, START_MS),
    )  # fmt: skip


def counts_of(batch: ExampleBatch) -> Popularity:
    counts = Popularity(bucket_hours=6.0, window_days=90)
    counts.add(batch.target, batch.timestamp, np.zeros(len(batch), np.int64))
    return counts


def test_ranks_are_those_of_what_had_been_counted_before(items: Items) -> None:
    batch = fashion(items, 400, stays_days={"podcast": 3.0, "audiobook": 20.0})
    chosen = batch.take(np.arange(360, 400))
    chosen = replace(chosen, timestamp=np.full(40, int(batch.timestamp[399])))
    unknown = chosen.target.copy()
    unknown[0] += np.uint64(1)
    examples = pad(replace(chosen, target=unknown), 10, 0)
    rows, types = ItemRows(items.item_keys), np.array(items.item_types)
    number = (types == "podcast").astype(np.int64)
    counts, at_ms = counts_of(batch), int(chosen.timestamp[0])
    found = demand_ranks(examples, counts, rows=rows, type_number=number, half_lives_days=HALVES)
    assert np.isinf(found[0]).all()
    assert np.isfinite(found[1:]).all()
    end = at_ms // counts.bucket_ms * counts.bucket_ms
    for half, half_life in enumerate(HALVES):
        demand = np.zeros(len(types))
        for key, when in zip(batch.target, batch.timestamp, strict=True):
            if when < end:
                whole = (when // counts.bucket_ms + 1) * counts.bucket_ms
                demand[rows(np.array([key]))[0]] += 0.5 ** ((end - whole) / DAY_MS / half_life)
        for place in range(1, 40):
            aim = int(rows(examples.target[place : place + 1])[0])
            entries = slice(0, examples.length[place])
            strong = examples.history_strong[place, entries]
            had = rows(examples.history_item[place, entries][strong])
            rivals = np.flatnonzero((number == number[aim]) & ~np.isin(np.arange(len(types)), had))
            rivals = rivals[rivals != aim]
            close = np.isclose(demand[rivals], demand[aim], rtol=1e-5, atol=0)
            above = ((demand[rivals] > demand[aim]) & ~close).sum()
            assert above <= found[place, half] <= above + close.sum()


def learned(batch: ExampleBatch, items: Items, known: HalfLives, parts: int = 8) -> HalfLives:
    """Ask about a stream in so many parts; all of it is counted before, as after a restart."""
    counts, types = counts_of(batch), sorted(set(items.item_types))
    number = np.array([types.index(name) for name in items.item_types])
    for part in np.array_split(np.arange(len(batch)), parts):
        known.learn(
            pad(batch.take(part), 10, 0), counts,
            rows=ItemRows(items.item_keys), type_number=number, types=types,
        )  # fmt: skip
    return known


def test_each_type_has_the_half_life_of_its_own_fashions(items: Items) -> None:
    batch = fashion(items, 3_000, stays_days={"podcast": 1.0, "audiobook": 1e6})
    found = learned(batch, items, HalfLives(SETTINGS))
    assert found.chosen() == {"podcast": 0.5, "audiobook": 60.0}
    assert found.chosen(["query"])["query"] == 2.0, "who was not asked begins in the middle"


def test_noise_flips_nothing(items: Items) -> None:
    """Without any fashion all half-lives are alike, but for what the longer ones have counted."""
    batch = fashion(items, 2_000, stays_days={"podcast": 1e6, "audiobook": 1e6}, days=10)
    near = replace(SETTINGS, half_lives_days=(30.0, 35.0, 40.0))
    known, seen, types = HalfLives(near), set(), sorted(set(items.item_types))
    number = np.array([types.index(name) for name in items.item_types])
    rng = np.random.default_rng(0)
    shuffled = replace(batch, target=rng.choice(items.item_keys, len(batch)))
    counts = counts_of(shuffled)
    for part in np.array_split(np.arange(len(shuffled)), 40):
        known.learn(
            pad(shuffled.take(part), 10, 0), counts,
            rows=ItemRows(items.item_keys), type_number=number, types=types,
        )  # fmt: skip
        seen |= set(known.chosen().values())
    assert len(seen) <= 2


def test_a_changed_world_is_followed(items: Items) -> None:
    slow = fashion(items, 1_500, stays_days={"podcast": 1e6, "audiobook": 1e6})
    known = learned(slow, items, HalfLives(replace(SETTINGS, remember_days=5.0)))
    assert set(known.chosen().values()) == {60.0}
    fast = fashion(items, 3_000, stays_days={"podcast": 1.0, "audiobook": 1.0})
    fast = replace(fast, timestamp=fast.timestamp + 40 * DAY_MS)
    assert set(learned(fast, items, known).chosen().values()) == {0.5}


def test_the_cut_into_calls_and_a_restart_change_nothing(items: Items) -> None:
    batch = fashion(items, 1_200, stays_days={"podcast": 2.0, "audiobook": 30.0})
    first = learned(batch.take(np.arange(600)), items, HalfLives(SETTINGS))
    other = HalfLives(SETTINGS)
    other.restore(first.saved())
    rest = batch.take(np.arange(600, 1_200))
    for one in (first, other):
        learned(rest, items, one)
    for name, array in first.saved().arrays.items():
        np.testing.assert_array_equal(array, other.saved().arrays[name])
    assert first.chosen() == other.chosen()
    forgotten = HalfLives(replace(SETTINGS, half_lives_days=(1.0, 2.0)))
    forgotten.restore(first.saved())
    assert forgotten.chosen() == {}, "they were asked about others"


def test_the_measure_asks_and_the_next_bundle_has_the_answer(items: Items, tmp_path) -> None:
    settings = replace(SMALL, popularity=replace(SETTINGS, weights=(0.25,)))
    trainer = Trainer(items, settings, seed=0)
    trainer.add(make_examples(items, 100))
    served = trainer.publish()
    found = measure(tmp_path, served, popularity=settings.popularity)
    assert found.half_lives.chosen() == served.half_lives_days
    batch = fashion(items, 3_000, stays_days={"podcast": 1.0, "audiobook": 1e6})
    for part in np.array_split(np.arange(len(batch)), 6):
        trainer.add(batch.take(part), found.sample)
        found.ask(trainer.popularity)
    restored = measure(tmp_path, served, popularity=settings.popularity)
    restored.restore(found.saved())
    chosen = restored.half_lives.chosen()
    assert chosen == {"podcast": 0.5, "audiobook": 60.0}
    bundle = trainer.publish(chosen)
    assert bundle.half_lives_days == chosen
    assert trainer.publish().half_lives_days == chosen, "what was chosen stays until other news"
    at_ms = int(bundle.manifest["popularity_at"])
    rows = ItemRows(items.item_keys)
    for name, days in chosen.items():
        mine = np.array(items.item_types) == name
        alone = trainer.popularity.read(rows, len(mine), at_ms=at_ms, half_life_days=days)
        np.testing.assert_allclose(bundle.popularity[0][mine], alone[mine], rtol=1e-5)


def test_workers_decay_each_type_at_its_own_half_life(bundle: DynamicBundle) -> None:
    live = LivePopularity(bucket_ms=3_600_000, window_buckets=480)
    days = {"audiobook": 2.0, "podcast": 8.0}
    fit = bundle.manifest["popularity"] | {"half_lives_days": days}
    changed = replace(bundle, manifest=bundle.manifest | {"popularity": fit})
    begin_ms = int(bundle.manifest["popularity_at"])
    later_ms = (begin_ms // 3_600_000 + 1) * 3_600_000 + 4 * DAY_MS
    counts, _ = LiveDemand(changed, live).favourites(0, [0, 1], 5, 0, later_ms)
    some = bundle.popularity[0] > 0
    for number, name in enumerate(bundle.types):
        mine = some & (bundle.features.type_number.numpy() == number)
        fade = 0.5 ** ((later_ms - begin_ms) / DAY_MS / days[name])
        np.testing.assert_allclose(counts[mine], bundle.popularity[0][mine] * fade, rtol=1e-4)


def test_earlier_moments_are_counted_apart_from_live_requests(
    bundle: DynamicBundle, monkeypatch
) -> None:
    """As a preview asks for them between live requests: nothing is counted again for either."""
    hour_ms = 3_600_000
    live = LivePopularity(bucket_ms=hour_ms, window_buckets=480)
    now_ms = int(bundle.manifest["popularity_at"]) // hour_ms * hour_ms + 4 * DAY_MS
    first = now_ms // hour_ms - 72
    for bucket in range(first, first + 74):
        row = bucket % len(bundle.item_keys)
        live.put(DemandRecord(
            partition=0, bucket=bucket, bucket_ms=hour_ms, records=1,
            keys=bundle.item_keys[row : row + 1], markets=np.zeros(1, np.uint16),
            counts=np.ones(1, np.uint32),
        ))  # fmt: skip
    demand, begun = LiveDemand(bundle, live), []
    begin = DemandReader._begin

    def counted(self) -> None:
        begun.append(self)
        begin(self)

    monkeypatch.setattr(DemandReader, "_begin", counted)
    found = []
    for step in range(30):
        demand.counted(0, now_ms + 1_000 * step)
        at_ms = now_ms - DAY_MS + step * 1_000_000
        found.append((at_ms, demand.counted(0, at_ms)))
    assert len(begun) <= 4, "one reader for each, and one beginning for the first earlier moment"
    for at_ms, counts in found[::7]:
        np.testing.assert_allclose(counts, LiveDemand(bundle, live).counted(0, at_ms), rtol=1e-4)
    # Without previews it is given up.
    demand.counted(0, now_ms + 200_000)
    assert demand._past is None
