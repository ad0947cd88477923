"""The world `news`: lifetimes, bursts, rhythm, drift, seasons, and that a seed decides it."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from simulation import News, World, WorldSettings, news_settings

HOUR, DAY = 3_600_000, 86_400_000
SMALL = replace(news_settings(days=8, launches=200), users=1_000, events=40_000)


def drawn(settings: WorldSettings, seed: int = 1) -> tuple[World, pa.Table, np.ndarray]:
    """A world, its events, and the age of each event's item in hours."""
    world = World(settings, seed)
    events = pa.Table.from_batches(list(world.history()))
    published = dict(
        zip(*(world.catalogue()[name].to_pylist() for name in ("item_id", "published_at")),
            strict=True)
    )  # fmt: skip
    at = np.array([published[item] for item in events["item_id"].to_pylist()])
    return world, events, (events["timestamp"].to_numpy() - at) / HOUR


@pytest.fixture(scope="module")
def news() -> tuple[World, pa.Table, np.ndarray]:
    return drawn(SMALL)


def test_hundreds_of_items_are_launched_each_day(news):
    world, events, age = news
    published = world.catalogue()["published_at"].to_numpy()
    assert len(published) == SMALL.items
    days = np.bincount((published[published >= SMALL.start_ms] - SMALL.start_ms) // DAY)
    assert len(days) == SMALL.days
    assert days.min() > 120
    assert (age >= 0).all()
    assert 0.99 * SMALL.events <= len(events) <= SMALL.events


@pytest.mark.parametrize("hours", [6.0, 24.0])
def test_an_item_has_nine_tenths_of_its_demand_within_its_lifetime(hours):
    """Without bursts, returns, or differences between lifetimes.

    Of the events it has less: where nothing newer suits a user, and at night, old items are taken.
    """
    alike = News(lifetime_hours=hours, lifetime_spread=0, bursts=0, evergreen=0)
    once = replace(SMALL.behaviours[0], returning=0.0)
    world, _, age = drawn(replace(SMALL, news=alike, behaviours=(once,)))
    ages = np.arange(0, 20 * hours, 0.1)
    lasting = world._news.at(np.zeros(len(ages), int), ages * HOUR, SMALL.end_ms)
    assert lasting[ages < hours].sum() == pytest.approx(0.9 * lasting.sum(), rel=0.02)
    assert 0.9 * hours < np.quantile(age, 0.9) < 2 * hours


def test_a_burst_multiplies_the_demand_for_an_item():
    own = replace(SMALL.news, bursts=0.1, burst_hours=6.0, evergreen=0)
    world, events, age = drawn(replace(SMALL, news=own))
    row = {item: row for row, item in enumerate(world.catalogue()["item_id"].to_pylist())}
    rows = np.array([row[item] for item in events["item_id"].to_pylist()])
    assert 0.05 < np.isfinite(world._news.burst_ms).mean() < 0.15
    since = age - world._news.burst_ms[rows] / HOUR
    before = ((since >= -1) & (since < 0)).sum()
    inside = (since >= 0) & (since < np.minimum(1, world._news.burst_length_ms[rows] / HOUR))
    assert before > 50
    assert inside.sum() > 3 * before


def test_old_items_return_in_the_season_of_their_topic(news):
    """Each season of a topic brings its old items back, and nothing else does."""
    world, events, age = news
    old = age > 10 * 24
    assert 0.03 < old.mean() < 0.25
    genre = dict(
        zip(*(world.catalogue()[name].to_pylist() for name in ("item_id", "genres")), strict=True)
    )
    first = world.catalogue()["genres"].to_pylist()[0]
    mine = old & np.array([genre[item] == first for item in events["item_id"].to_pylist()])
    phase = events["timestamp"].to_numpy()[mine] / (SMALL.news.season_days * DAY) % 1
    # Five topics of a genre lie side by side in the year, and each season is a quarter of it.
    angle = np.exp(2j * np.pi * phase)
    assert len(angle) > 50
    assert abs(angle.mean()) > 0.6
    _, _, none = drawn(replace(SMALL, news=replace(SMALL.news, evergreen=0, bursts=0)))
    assert (none > 10 * 24).mean() < 0.001


def test_events_and_launches_follow_the_day(news):
    world, events, _ = news
    for times in (events["timestamp"], world.catalogue()["published_at"]):
        at = times.to_numpy()
        by_hour = np.bincount(at[at >= SMALL.start_ms] // HOUR % 24, minlength=24)
        assert by_hour[17:20].min() > 2 * by_hour[1:4].max()


def test_the_interests_of_users_drift():
    """With drift, what a user is likely to take at the end is not what it was at the start."""
    moved = {}
    lasting = News(lifetime_hours=10_000, lifetime_spread=0, bursts=0, evergreen=0)
    for drift in (0.0, 1.0):
        world = World(replace(SMALL, drift=drift, news=lasting), 1)
        users = world.users()["user_id"].to_pylist()[:200]
        early, late = (
            world.affinity(users, "article", at) for at in (SMALL.start_ms, SMALL.end_ms - 1)
        )
        known = early.sum(axis=0) > 0
        late = late[:, known] / late[:, known].sum(axis=1, keepdims=True)
        moved[drift] = float(np.abs(early[:, known] - late).sum(axis=1).mean() / 2)
    assert moved[0.0] < 0.25
    assert moved[1.0] > 2 * moved[0.0]


def test_the_oracle_knows_what_is_in_demand_at_a_moment(news):
    world, _, _ = news
    users = world.users()["user_id"].to_pylist()[:50]
    affinity = world.affinity(users, "article", SMALL.end_ms - DAY)
    published = world.catalogue()["published_at"].to_numpy()
    assert affinity.sum(axis=1) == pytest.approx(np.ones(50))
    assert (affinity[:, published > SMALL.end_ms - DAY] == 0).all()
    assert 50 < (affinity.sum(axis=0) > 0).sum() < 0.5 * len(published)


def test_live_traffic_launches_items_and_takes_up_what_is_new():
    settings = replace(SMALL, reserve=60)
    world = World(settings, 1)
    launched: set[str] = set()
    taken: list[str] = []
    for step in world.live(20, settings.end_ms, 120, launches=60):
        taken += step.events["item_id"].to_pylist()
        launched |= set(step.launches["item_id"].to_pylist())
    assert len(launched) == 60
    assert len(taken) == 2_400
    known = dict(zip(world.catalogue()["item_id"].to_pylist(),
                     world.catalogue()["published_at"].to_pylist(), strict=True))  # fmt: skip
    fresh = [item in launched or known[item] > settings.end_ms - 2 * DAY for item in taken]
    assert np.mean(fresh) > 0.7
    assert launched & set(taken)


def test_a_seed_decides_the_world(news):
    _, events, _ = news
    assert drawn(SMALL)[1] == events
    assert drawn(SMALL, seed=2)[1] != events


def test_settings_without_meaning_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        News(bursts=1.5)
    with pytest.raises(ValueError, match="positive"):
        News(lifetime_hours=0)
