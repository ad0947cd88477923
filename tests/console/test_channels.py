"""Bundles over HTTP, channel by channel: what each serves, pins, and the way back."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agents.bundles.names import bundle_name
from agents.experiments.arms import ArmSettings, ExperimentSettings
from streams import ModelAnnouncement, encode
from tests.console.test_api import PROBLEM
from tests.console.worlds import HEADERS, NOW, World, served
from tests.waiting import wait_until

ARMS = ExperimentSettings(
    arms=(
        ArmSettings(name="today", share=0.9),
        ArmSettings(name="deeper", share=0.1, channel="next"),
    )
)
FIRST, SECOND = bundle_name(1), bundle_name(2)
ITS_FIRST, ITS_SECOND = bundle_name(1, "next"), bundle_name(2, "next")


def two_channels(world: World) -> World:
    """Both channels have both bundles, and serve their second."""
    world.settings = replace(world.settings, experiments=ARMS)
    for channel in ("default", "next"):
        for bundle in world.bundles:
            world.announce(bundle, channel)
    return world


@pytest.fixture
def client(world: World) -> Iterator:
    with served(two_channels(world)) as found, found.client(headers=HEADERS) as asking:
        wait_until(lambda: served_by(asking) == (SECOND, ITS_SECOND), "both channels' bundles")
        yield asking


def rows(client) -> dict[str, dict]:
    return {row["channel"]: row for row in client.get("/v1/channels").json()}


def served_by(client) -> tuple[str | None, ...]:
    return tuple(row["served"] for row in rows(client).values())


def test_each_channel_says_what_it_serves_and_to_whom(client):
    default, other = rows(client).values()
    assert default == {
        "channel": "default", "arms": [{"name": "today", "share": 0.9}], "served": SECOND,
        "generation": 2, "lacks_bundle": False, "pinned": None, "newest": SECOND, "before": FIRST,
    }  # fmt: skip
    assert other["arms"] == [{"name": "deeper", "share": pytest.approx(0.1)}]
    assert (other["newest"], other["before"]) == (ITS_SECOND, ITS_FIRST)


def test_a_pin_is_of_one_channel_whosever_the_bundle_is(client):
    answer = client.put("/v1/pin", params={"channel": "next"}, json={"name": FIRST})
    assert (answer.status_code, set(answer.json())) == (202, {"record"})
    wait_until(lambda: served_by(client) == (SECOND, FIRST), "the pin on channel next")
    assert [row["pinned"] for row in rows(client).values()] == [None, FIRST]
    found = {b["name"]: b for b in client.get("/v1/generations").json()}
    assert (found[FIRST]["served_on"], found[FIRST]["pinned_on"]) == (["next"], ["next"])
    assert (found[SECOND]["served_on"], found[SECOND]["pinned_on"]) == (["default"], [])
    assert (found[ITS_FIRST]["channel"], found[ITS_FIRST]["served_on"]) == ("next", [])
    assert "segue_console_pinned 1.0" in client.get("/metrics").text
    assert client.delete("/v1/pin").status_code == 202  # of the default channel
    assert client.delete("/v1/pin", params={"channel": "next"}).status_code == 202
    wait_until(lambda: served_by(client) == (SECOND, ITS_SECOND), "the trainer's newest")
    assert "segue_console_pinned 0.0" in client.get("/metrics").text


def test_a_rollback_goes_back_on_its_own_channel_until_there_is_nothing_before(client):
    answer = client.post("/v1/rollback", params={"channel": "next"})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["instead_of"], body["pinned"]) == (ITS_SECOND, ITS_FIRST)
    wait_until(lambda: served_by(client) == (SECOND, ITS_FIRST), "the rollback of channel next")
    assert rows(client)["next"]["before"] is None
    again = client.post("/v1/rollback", params={"channel": "next"})
    assert (again.status_code, again.headers["content-type"]) == (409, PROBLEM)
    assert ITS_FIRST in again.json()["detail"]
    assert client.post("/v1/rollback").json()["pinned"] == FIRST
    wait_until(
        lambda: served_by(client) == (FIRST, ITS_FIRST), "the rollback of the default channel"
    )


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_an_unknown_channel_is_a_problem_that_names_those_there_are(client, method):
    path = "/v1/rollback" if method == "POST" else "/v1/pin"
    body = {"json": {"name": FIRST}} if method == "PUT" else {}
    answer = client.request(method, path, params={"channel": "deeper"}, **body)
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    assert "only default, next" in answer.json()["detail"]
    malformed = client.request(method, path, params={"channel": "../x"}, **body)
    assert (malformed.status_code, malformed.headers["content-type"]) == (422, PROBLEM)
    assert served_by(client) == (SECOND, ITS_SECOND)


def test_a_torn_bundle_is_not_pinned_and_passed_over_by_a_rollback(world: World):
    world.announce(world.bundles[0], generation=1)
    world.announce(world.bundles[0], generation=2)
    world.announce(world.bundles[1], generation=3)
    store = world.settings.store()
    file = next(iter(store.manifest("dynamic", SECOND)["files"]))
    store.put_bytes(b"torn", f"dynamic/{SECOND}/{file}")
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: served_by(client) == (bundle_name(3),), "the newest bundle")
        answer = client.put("/v1/pin", json={"name": SECOND})
        assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
        assert "is incomplete" in answer.json()["detail"]
        assert client.post("/v1/rollback").json()["pinned"] == FIRST
        wait_until(lambda: served_by(client) == (FIRST,), "the bundle before the torn one")


def test_a_channel_without_a_bundle_serves_the_default_ones(world: World):
    world.settings = replace(world.settings, experiments=ARMS)
    world.announce(world.bundles[0])
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: served_by(client) == (FIRST, FIRST), "the default channel's bundle")
        row = rows(client)["next"]
        assert (row["lacks_bundle"], row["newest"], row["before"]) == (True, None, None)
        answer = client.post("/v1/rollback", params={"channel": "next"})
        assert answer.status_code == 409
        assert "no bundle yet" in answer.json()["detail"]


def test_what_is_asked_for_follows_the_schema_of_announcements(client, world: World):
    client.put("/v1/pin", params={"channel": "next"}, json={"name": FIRST})
    record = world.log.read(world.settings.topics.models, 0, 0)[-1]
    due = ModelAnnouncement(
        kind="pinned", name=FIRST, url=world.settings.store().url, generation=1, created_at=NOW,
        metrics={}, channel="next",
    )  # fmt: skip
    assert (record.key, record.value) == (b"pinned/next", encode(due))
