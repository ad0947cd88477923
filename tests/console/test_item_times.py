"""An item over time: its events and its edges by day, against the events that were written."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from state import Window
from tests.console.worlds import HEADERS, NOW

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def client(running):
    with running.client(headers=HEADERS) as found:
        yield found


@pytest.fixture(scope="module")
def heard(running):
    """(user, row, day), as `make_world` writes them."""
    topic = running.world.items.topic
    rows = []
    for number, user in enumerate(running.world.users):
        liked = np.flatnonzero(topic == number % 6)
        for day in range(3):
            at = (NOW - (3 - day) * DAY_MS) // DAY_MS
            rows.append((user, int(liked[(number + day) % len(liked)]), at))
    return rows


def named(items, row):
    return {"type": items.item_types[row], "id": items.item_ids[row]}


def test_demand_is_that_of_the_log_by_day(client, running, heard):
    row = Counter(row for _, row, _ in heard).most_common(1)[0][0]
    body = client.get("/v1/item/demand", params=named(running.world.items, row)).json()
    days = [start // DAY_MS for start in body["starts"]]
    assert days == list(range(days[-1] - Window().buckets + 1, days[-1] + 1))
    assert body["bucket_ms"] == DAY_MS
    assert days[-1] == max(day for *_, day in heard)
    found = {day: n for day, n in zip(days, body["events"], strict=True) if n}
    assert found == Counter(day for _, r, day in heard if r == row)
    by_market = np.sum([market["events"] for market in body["markets"]], axis=0)
    assert by_market.tolist() == body["events"]
    named_markets = [m["countries"] for m in body["markets"] if m["market"]]
    assert all(countries in (["DE"], ["US"]) for countries in named_markets)


def test_edges_come_from_the_earlier_day_of_each_user(client, running, heard):
    items = running.world.items
    edges: Counter[tuple[int, int, int]] = Counter()
    for user in running.world.users:
        own = [(row, day) for who, row, day in heard if who == user]
        for (one, at), (other, later) in combinations(own, 2):
            for pair in ((one, other), (other, one)):
                edges[(*pair, min(at, later))] += 1
    row = max(Counter(one for one, _, _ in edges).items(), key=lambda pair: pair[1])[0]
    body = client.get("/v1/item/edges", params=named(items, row) | {"k": 20}).json()
    days = [start // DAY_MS for start in body["starts"]]
    found = {}
    for neighbour in body["neighbours"]:
        other = items.item_ids.index(neighbour["item_id"])
        assert neighbour["users"] == sum(neighbour["by_bucket"])
        counts = zip(days, neighbour["by_bucket"], strict=True)
        found |= {(row, other, day): users for day, users in counts if users}
    assert found == {edge: users for edge, users in edges.items() if edge[0] == row}
    users = [neighbour["users"] for neighbour in body["neighbours"]]
    assert users == sorted(users, reverse=True)


def test_what_nobody_had_has_no_edges_and_what_is_unknown_is_missing(client, running, heard):
    items = running.world.items
    unheard = (set(range(len(items.item_ids))) - {row for _, row, _ in heard}).pop()
    body = client.get("/v1/item/edges", params=named(items, unheard)).json()
    assert body["neighbours"] == []
    body = client.get("/v1/item/demand", params=named(items, unheard)).json()
    assert (sum(body["events"]), body["markets"]) == (0, [])
    for path in ("/v1/item/edges", "/v1/item/demand"):
        assert client.get(path, params={"type": "podcast", "id": "?"}).status_code == 404
