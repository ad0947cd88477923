"""Walks, histories and demand read from an index, against slow restatements of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_layer.counts.directed import WALKS, Asked, WalkSettings, walk
from dynamic_layer.counts.stream_index import StreamIndex
from dynamic_layer.head.candidates import NONE

HOUR, DAY = 3_600_000, 86_400_000
USERS, ITEMS = 6, 9
WALK = WalkSettings(sources=3, people=100, steps=3, span=50)


@st.composite
def streams(draw):
    """Few users and items, so that they meet; few moments, so that they tie."""
    n = draw(st.integers(1, 60))
    user, item, hour, strong = (
        draw(st.lists(values, min_size=n, max_size=n))
        for values in (
            st.integers(0, USERS - 1),
            st.integers(0, ITEMS - 1),
            st.integers(0, 30),
            st.booleans(),
        )
    )
    return (
        np.array(user),
        np.array(item),
        np.sort(np.array(hour, np.int64)) * (HOUR // 2) + DAY,
        np.array(strong),
    )


def index_of(stream, half_lives=(0.5, 4.0)) -> StreamIndex:
    user, item, time, strong = stream
    return StreamIndex.of(
        user=user, item=item, timestamp=time, strong=strong,
        n_users=USERS, n_items=ITEMS, half_lives_days=half_lives,
    )  # fmt: skip


def live(user: int, at: int) -> Asked:
    at_ms = np.array([at])
    return Asked(user=np.array([user]), at_ms=at_ms, user_ms=at_ms, model_ms=at_ms, demand_ms=at_ms)


def sequence(stream, person: int, before: int):
    user, item, time, strong = stream
    return [
        (int(i), int(t), bool(s))
        for u, i, t, s in zip(user, item, time, strong, strict=True)
        if u == person and t < before
    ]


def restated(stream, person: int, at: int):
    """What walks say of every item that they reach, by the definitions."""
    own = sequence(stream, person, at)
    had = {i for i, _, s in own if s}
    met = dict.fromkeys(range(ITEMS), 0)
    people = {other: sequence(stream, other, at) for other in range(USERS)}
    for events in people.values():
        for i, _, _ in events:
            met[i] += 1
    values = {}
    for back, (source, time, _) in enumerate(own[::-1][: WALK.sources]):
        hours = (at - time) / HOUR
        recent = WALK.age_decay**back
        for other, events in people.items():
            if other == person:
                continue
            for (p, (i, t, _)), (q, (j, u, _)) in itertools.product(enumerate(events), repeat=2):
                if i != source or j == source or j in had or p == q:
                    continue
                row = values.setdefault(j, dict.fromkeys(WALKS, 0.0))
                if u > t and q - p <= WALK.steps:
                    worth = WALK.step_decay ** (q - p - 1) / met[source]
                    row["steps@last"] += worth * (back == 0)
                    row["next@last"] += (back == 0 and q - p == 1) / met[source]
                    row["steps@recent"] += worth * recent
                    off = abs(q - p - 1 - back)
                    if off < WALK.steps:
                        row["aligned"] += recent * WALK.step_decay**off / met[source]
                cosine = 1 / np.sqrt(met[source] * met[j])
                if abs(u - t) <= HOUR:
                    row["session@last"] += cosine * (back == 0)
                    row["session@hour"] += cosine * 0.5**hours
                    row["session@recent"] += cosine * recent
                row["together@last"] += cosine * (back == 0)
                row["together@hour"] += cosine * 0.5**hours
                row["together@day"] += cosine * 0.5 ** (hours / 24)
    return values


@settings(max_examples=60, deadline=None)
@given(streams(), st.integers(0, USERS - 1), st.integers(0, 32))
def test_walks_are_their_definition_on_events_before_the_moment(stream, person, half_hours):
    at = DAY + half_hours * (HOUR // 2)
    brought = np.array([[3, NONE, 3, 5]])
    tops = [(name, ITEMS) for name in WALKS]
    candidates, values = walk(
        index_of(stream), live(person, at), brought, WALK, tops=tops, limit=ITEMS
    )
    expected = restated(stream, person, at)
    had = {i for i, _, s in sequence(stream, person, at) if s}
    found = candidates[0][candidates[0] != NONE].tolist()
    assert len(found) == len(set(found))
    assert set(found) == {i for i, row in expected.items() if any(row.values())} | ({3, 5} - had)
    for place, item in enumerate(found):
        for kind, name in enumerate(WALKS):
            wanted = expected.get(item, {}).get(name, 0.0)
            assert values[0, place, kind] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


@settings(max_examples=30, deadline=None)
@given(streams(), st.integers(0, USERS - 1), st.integers(0, 32))
def test_readings_at_a_moment_do_not_hang_on_what_comes_later(stream, person, half_hours):
    at = DAY + half_hours * (HOUR // 2)
    cut = tuple(column[stream[2] < at] for column in stream)
    moment, users = np.array([at]), np.array([person])
    whole, before = index_of(stream), index_of(cut)
    every = np.arange(ITEMS)[None, :]
    np.testing.assert_array_equal(whole.item_state(every, moment), before.item_state(every, moment))
    one, other = (index.histories(users, moment, 4) for index in (whole, before))
    for name in ("indptr", "item", "age_days", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    seen = sequence(stream, person, at)[::-1][:4]
    assert one.item.tolist() == list(dict.fromkeys(i for i, _, _ in seen))
    for item in range(ITEMS):
        ages = [
            (at - t) / DAY for p in range(USERS) for i, t, _ in sequence(stream, p, at) if i == item
        ]
        state = whole.item_state(every, moment)[0, item]
        for place, half_life in enumerate((0.5, 4.0)):
            assert state[place] == pytest.approx(
                sum(0.5 ** (a / half_life) for a in ages), rel=1e-4
            )
        assert state[2] == pytest.approx(max(ages, default=36_500), rel=1e-4)
        assert state[3] == pytest.approx(min(ages, default=36_500), rel=1e-4)


def test_a_request_cannot_know_what_lies_after_it():
    at = np.array([5])
    with pytest.raises(ValueError, match="after the moment"):
        Asked(user=np.array([0]), at_ms=at, user_ms=at, model_ms=at + 1, demand_ms=at)


def test_time_that_goes_back_is_refused():
    with pytest.raises(ValueError, match="order of time"):
        index_of((np.zeros(2, int), np.zeros(2, int), np.array([2, 1]), np.ones(2, bool)))
