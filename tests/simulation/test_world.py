"""The simulated world: what it consists of, that a seed decides it, and its live traffic."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from simulation import (
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    KINDS,
    Behaviour,
    World,
    WorldSettings,
    departments,
)
from simulation.lexicon import topics

TINY = WorldSettings(users=300, items=200, events=6_000, reserve=20)


def events_of(world: World) -> pa.Table:
    return pa.Table.from_batches(list(world.history()))


def test_the_catalogue_has_the_canonical_columns_and_unique_ids(small_world: World) -> None:
    catalogue = small_world.catalogue()
    assert catalogue.schema == ITEM_SCHEMA
    assert len(catalogue) == small_world.settings.items
    pairs = set(
        zip(*(catalogue[name].to_pylist() for name in ("item_type", "item_id")), strict=True)
    )
    assert len(pairs) == len(catalogue)
    assert set(catalogue["item_type"].to_pylist()) == {"podcast", "audiobook"}
    assert len(set(catalogue["language"].to_pylist())) == 4


def test_a_world_can_have_as_many_types_as_a_shop_has_departments() -> None:
    names, behaviours = departments(40)
    settings = replace(TINY, items=2_000, item_types=names, behaviours=behaviours)
    world = World(settings, seed=1)
    items = Counter(world.catalogue()["item_type"].to_pylist())
    assert set(items) == set(names)
    assert items[names[0]] > 5 * items[names[-1]], "the last ones are rare"
    events = Counter(events_of(world)["item_type"].to_pylist())
    assert len(events) > 30
    assert events[names[0]] > 5 * events[names[-1]]
    with pytest.raises(ValueError, match="at least 1"):
        departments(0)


def test_titles_name_the_topics_of_their_genre(small_world: World) -> None:
    catalogue = small_world.catalogue().to_pylist()
    words = {
        topic.genre: {
            word.lower()
            for other in topics()
            if other.genre == topic.genre
            for vocabulary in other.words.values()
            for word in vocabulary
        }
        for topic in topics()
    }
    told = [
        any(word in item["title"].lower() for word in words[item["genres"][0]])
        for item in catalogue
    ]
    assert 0.75 < np.mean(told) < 1.0  # most do, some mislead: text is only part of the truth


def test_the_history_is_in_order_of_time_and_inside_its_span(
    small_world: World, small_events: pa.Table
) -> None:
    settings = small_world.settings
    times = small_events["timestamp"].to_numpy()
    assert small_events.schema == EVENT_SCHEMA
    assert (np.diff(times) >= 0).all()
    assert settings.start_ms <= times[0]
    assert times[-1] < settings.end_ms
    assert 0.99 * settings.events <= len(small_events) <= settings.events
    assert set(small_events["kind"].to_pylist()) == set(KINDS)


def test_nothing_is_heard_before_it_is_published(
    small_world: World, small_events: pa.Table
) -> None:
    published = small_world.catalogue().select(["item_type", "item_id", "published_at"])
    joined = small_events.join(published, ["item_type", "item_id"])
    assert joined["published_at"].null_count == 0
    assert pc.all(pc.greater_equal(joined["timestamp"], joined["published_at"])).as_py()
    launched = pc.greater_equal(joined["published_at"], small_world.settings.start_ms)
    assert pc.sum(launched).as_py() > 0.05 * len(small_events)


def test_the_day_and_the_week_have_a_rhythm(small_events: pa.Table) -> None:
    hours = (small_events["timestamp"].to_numpy() // 3_600_000).astype(int)
    by_hour = np.bincount(hours % 24, minlength=24)
    by_day = np.bincount((hours // 24 + 3) % 7, minlength=7)
    assert by_hour[17:20].min() > 3 * by_hour[1:4].max()
    assert by_day[6] < 0.9 * by_day[4]  # Sunday, Friday


def test_a_seed_decides_everything() -> None:
    first, same, other = World(TINY, seed=3), World(TINY, seed=3), World(TINY, seed=4)
    assert first.catalogue() == same.catalogue()
    assert first.users() == same.users()
    assert events_of(first) == events_of(same)
    assert first.catalogue() != other.catalogue()
    assert events_of(first) != events_of(other)
    steps = [list(world.live(100, TINY.end_ms, 3, launches=2)) for world in (first, same)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("item_types", [("food", "kitchen"), ("post",), ("a", "b", "c")])
def test_any_item_types_will_do(item_types: tuple[str, ...]) -> None:
    world = World(replace(TINY, item_types=item_types))
    assert set(world.catalogue()["item_type"].to_pylist()) == set(item_types)
    assert set(events_of(world)["item_type"].to_pylist()) == set(item_types)


def test_a_type_that_nobody_comes_back_to_has_no_second_stream() -> None:
    once = Behaviour(returning=0.0)
    world = World(replace(TINY, item_types=("news",), behaviours=(once,), weak_share=0.0))
    pairs = events_of(world).group_by(["user_id", "item_id"]).aggregate([("kind", "count")])
    assert set(pairs["kind_count"].to_pylist()) == {1}


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        WorldSettings(item_types=("podcast", "podcast"))
    with pytest.raises(ValueError, match="one behaviour per item type"):
        WorldSettings(behaviours=(Behaviour(),))
    with pytest.raises(ValueError, match="same length"):
        WorldSettings(markets=("US",))


def test_live_traffic_continues_at_the_rate_with_the_same_users(small_world: World) -> None:
    start = small_world.settings.end_ms
    steps = list(small_world.live(250, start, 4))
    assert [step.time_ms for step in steps] == [start + 1_000 * row for row in range(4)]
    events = pa.Table.from_batches([step.events for step in steps])
    assert len(events) == 1_000
    assert (np.diff(events["timestamp"].to_numpy()) >= 0).all()
    for step in steps:
        times = step.events["timestamp"].to_numpy()
        assert ((times >= step.time_ms) & (times < step.time_ms + 1_000)).all()
    known = set(small_world.users()["user_id"].to_pylist())
    assert set(events["user_id"].to_pylist()) <= known


def test_live_traffic_of_a_fraction_of_an_event_per_step_keeps_its_rate() -> None:
    steps = World(TINY).live(0.5, TINY.end_ms, 10)
    assert sum(len(step.events) for step in steps) == 5


def test_launched_items_are_new_and_are_heard_only_after_their_launch(small_world: World) -> None:
    known = set(small_world.catalogue()["item_id"].to_pylist())
    since: dict[str, int] = {}
    heard: list[tuple[str, int]] = []
    for step in small_world.live(2_000, small_world.settings.end_ms, 10, launches=40):
        for event in step.events.to_pylist():
            assert event["item_id"] in known or event["item_id"] in since
            if event["item_id"] in since:
                heard.append((event["item_id"], event["timestamp"]))
        for item in step.launches.to_pylist():
            assert item["published_at"] == step.time_ms
            since[item["item_id"]] = step.time_ms
    assert len(since) == 40
    assert not since.keys() & known
    assert heard
    assert all(time > since[item] for item, time in heard)


def test_more_launches_than_reserved_items_are_refused() -> None:
    with pytest.raises(ValueError, match="reserve"):
        World(TINY).live(1, TINY.end_ms, 1, launches=21)


def test_true_affinity_is_a_distribution_over_the_published_items_of_the_type(
    small_world: World,
) -> None:
    users = small_world.users()["user_id"].to_pylist()[:50]
    middle = small_world.settings.end_ms - 30 * 86_400_000
    catalogue = small_world.catalogue()
    affinity = small_world.affinity(users, "audiobook", middle)
    assert affinity.shape == (50, len(catalogue))
    possible = np.array(catalogue["item_type"].to_pylist()) == "audiobook"
    possible &= catalogue["published_at"].to_numpy() <= middle
    assert (affinity[:, ~possible] == 0).all()
    assert affinity.sum(axis=1) == pytest.approx(np.ones(50))


def test_interests_drift() -> None:
    world = World(replace(TINY, drift=1.0))
    users = world.users()["user_id"].to_pylist()
    early, late = (
        world.affinity(users, "podcast", moment) for moment in (TINY.start_ms, TINY.end_ms - 1)
    )
    published = world.catalogue()["published_at"].to_numpy() < TINY.start_ms
    tops = [np.argmax(np.where(published, scores, -1), axis=1) for scores in (early, late)]
    assert np.mean(tops[0] != tops[1]) > 0.5


def test_batches_hold_at_most_the_asked_number_of_rows() -> None:
    sizes = [len(batch) for batch in World(TINY).history(batch_rows=1_000)]
    assert all(left == 1_000 >= right for left, right in pairwise(sizes))


def test_a_newcomer_has_fans_where_its_topic_and_language_are_liked() -> None:
    world = World(replace(TINY, users=2_000), seed=3)
    newcomer = world.newcomer(0, world.settings.end_ms)
    entry, catalogue = newcomer.entry, world.catalogue().to_pylist()
    assert entry["item_id"] not in {item["item_id"] for item in catalogue}
    assert entry["published_at"] == world.settings.end_ms
    for row in newcomer.alike.tolist():
        for name in ("item_type", "language", "genres"):
            assert catalogue[row][name] == entry[name]
    assert 0.02 < np.mean(newcomer.interest > 0) < 0.3
    assert newcomer.interest.max() <= 1
    # The world's own probabilities: who has the interest is likelier to meet what is alike.
    users = world.users()["user_id"].to_pylist()
    fans = np.argsort(-newcomer.interest)[:20]
    others = np.flatnonzero(newcomer.interest == 0)[:20]
    near, far = (
        world.affinity([users[row] for row in rows], entry["item_type"], world.settings.end_ms)
        for rows in (fans, others)
    )
    assert near[:, newcomer.alike].sum() > 3 * far[:, newcomer.alike].sum()
    with pytest.raises(IndexError, match="below 20"):
        world.newcomer(20, world.settings.end_ms)
