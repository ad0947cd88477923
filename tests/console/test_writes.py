"""Records over HTTP: what is answered is in the log, and what is in the log is in the next list."""

import asyncio
import json
import threading
from dataclasses import replace

import httpx
import numpy as np
import pytest

from console.settings import WriteSettings
from streams.partitioner import murmur2_partition
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, NOW, SEER, SHOP, Served, make_world, served
from tests.waiting import PATIENCE_S, wait_until

PROBLEM = "application/problem+json"
LINES = {"Content-Type": "application/x-ndjson"}
LIMITS = WriteSettings(
    rows=100, body_bytes=100_000, in_flight_bytes=200_000, wait_s=PATIENCE_S, keys=5
)


def event(user="w1", **fields):
    row = {"user_id": user, "item_id": "i1", "item_type": "podcast", "kind": "stream"}
    return row | {"timestamp": NOW} | fields


@pytest.fixture(scope="module")
def shop(tmp_path_factory, items, bundles):
    made = make_world(
        tmp_path_factory.mktemp("writes"), items, bundles, writes=LIMITS, at_least_s=PATIENCE_S,
        origins=("https://shop.example",),
    )  # fmt: skip
    made.announce(bundles[0])
    with ready(made) as found:
        yield found


@pytest.fixture(scope="module")
def client(shop: Served):
    with shop.client(headers=HEADERS) as found:
        yield found


def logged(shop: Served, topic: str) -> list:
    log = shop.world.log
    return [
        record
        for partition in range(log.partitions(topic))
        for record in log.read(topic, partition, 0, 100_000)
    ]


def ends(shop: Served, topic: str) -> list[int]:
    log = shop.world.log
    return [log.end_offset(topic, partition) for partition in range(log.partitions(topic))]


def test_a_list_that_is_asked_for_after_a_write_includes_it(shop, client):
    rows = np.flatnonzero(shop.world.items.topic == 1)[:2].tolist()
    names = [(shop.world.items.item_types[n], shop.world.items.item_ids[n]) for n in rows]
    sent = [event("new", item_type=kind, item_id=name) for kind, name in names]
    answer = client.post("/v1/events", json=sent)
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["rejected"], body["errors"]) == (2, 0, [])
    place = body["positions"][-1]
    record = shop.world.log.read(place["topic"], place["partition"], place["offset"])[0]
    assert (record.key, json.loads(record.value)) == (b"new", sent[-1])
    for users in ("new", ["x", "new"]):  # what comes twice is answered by the framework
        ask = {"user": users, "at_least": body["at_least"]}
        listed = client.get("/v1/recommendations", params=ask).json()
        assert listed["position"] > place["offset"]
        assert listed["cold"] is False
    known = client.post("/v1/users", json={"user_id": "new", "country": "FR"}).json()
    attributes = client.get("/v1/user", params={"user": "new", "at_least": known["at_least"]})
    assert attributes.json()["attributes"]["country"] == "FR"


def test_a_dislike_that_was_written_is_in_the_next_list(shop, client):
    """Of a user with a history and of one without, at the first page and the next."""
    for user, history in (("warm", ["i1"]), ("cold", [])):
        sent = [event(user, item_id=name) for name in history]
        client.post("/v1/events", json=[*sent, event(user, item_id="i9")])
        listed = client.get("/v1/recommendations", params={"user": user}).json()["items"]
        worst = [(one["item_type"], one["item_id"]) for one in listed[:3]]
        sent = [event(user, item_type=t, item_id=n, kind="dislike") for t, n in worst]
        answer = client.post("/v1/events", json=sent)
        assert answer.status_code == 202
        ask = {"user": user, "at_least": answer.json()["at_least"], "k": 20}
        for repeats in ("exclude", "include"):
            found = client.get("/v1/recommendations", params=ask | {"repeats": repeats}).json()
            shown = {(one["item_type"], one["item_id"]) for one in found["items"]}
            assert shown
            assert not shown & set(worst)
        many = client.post("/v1/recommendations/users", json={"users": [user], "k": 20}).json()
        shown = {(one["item_type"], one["item_id"]) for one in many["lists"][0]["items"]}
        assert shown
        assert not shown & set(worst)


def test_impressions_are_written_and_in_the_state_of_the_next_list(shop, client):
    items = [{"item_id": f"i{n}", "item_type": "podcast", "position": n} for n in (1, 2)]
    row = {"user_id": "looker", "timestamp": NOW, "items": items, "list_id": "l-1"}
    answer = client.post("/v1/impressions", json=[row, row | {"items": []}])
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert answer.json()["errors"][0]["index"] == 1
    assert client.post("/v1/impressions", json=row | {"items": []}).status_code == 422
    ask = {"user": "looker", "at_least": answer.json()["at_least"]}
    assert client.get("/v1/recommendations", params=ask).status_code == 200
    state = shop.app.state.replica.state_of("looker")
    assert sorted(state.shown("looker").count.tolist()) == [1, 1]


def test_impressions_that_nothing_reads_are_refused(shop, client, monkeypatch):
    monkeypatch.setattr(shop.app.state.writes, "_impressions", False)
    answer = client.post("/v1/impressions", json={})
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert "segue.impressions" in answer.json()["detail"]


def test_an_item_is_in_the_catalogue_and_can_be_taken_down(shop, client):
    item = {"item_id": 77, "item_type": "podcast", "title": "Seven"}
    assert client.post("/v1/items", json=item).json()["accepted"] == 1
    ask = {"type": "podcast", "id": "77"}

    def catalogue():
        return (client.get("/v1/item", params=ask).json() or {}).get("catalogue") or {}

    wait_until(lambda: catalogue().get("title") == "Seven", "the item")
    assert client.post("/v1/items", json=item | {"deleted": True}).status_code == 202
    wait_until(lambda: not catalogue(), "the takedown")


@pytest.mark.parametrize("lines", [False, True])
def test_good_rows_are_written_and_bad_ones_named(shop, client, lines):
    topic = shop.world.settings.topics.events
    before = sum(ends(shop, topic))
    rows = [event(), event(kind="no such"), {"user_id": "w1"}, event("\u00e4", item_id=5)]
    if lines:
        text = "\r\n".join(json.dumps(row) for row in rows) + "\n\n"
        answer = client.post("/v1/events", content=text.encode(), headers=LINES)
    else:
        answer = client.post("/v1/events", json=rows)
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["rejected"]) == (202, 2, 2)
    assert [(bad["index"], bad["reason"]) for bad in body["errors"]] == [
        (1, "unknown_kind"), (2, "missing_field")
    ]  # fmt: skip
    assert sum(ends(shop, topic)) == before + 2
    number = murmur2_partition("\u00e4".encode(), 2)
    places = {place["partition"]: place["offset"] for place in body["positions"]}
    record = shop.world.log.read(topic, number, places[number])[0]
    assert record.key.decode() in ("\u00e4", "w1")


def test_nothing_is_written_where_no_row_is_good(shop, client):
    topic = shop.world.settings.topics.events
    before = ends(shop, topic)
    answer = client.post("/v1/events", json=[event(kind="x"), event(timestamp=NOW // 1000)])
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert [error["where"] for error in answer.json()["errors"]] == ["body.0", "body.1"]
    assert "multiply it by 1000" in answer.json()["errors"][1]["what"]
    assert ends(shop, topic) == before


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {}, 422),
        (b"[]", {}, 422),
        (b"\n\n", LINES, 422),
        (b"[", {}, 422),
        (b"[1,]", {}, 422),
        (b"\xff\xfe[\x00]\x00", {}, 422),
        (b"\xef\xbb\xbf[]", {}, 422),
        (b'["\x01"]', {}, 422),
        (b"[" * 90_000, {}, 422),
        (b'{"a":' * 15_000, {}, 422),
        (b"[" + b"1," * 101 + b"1]", {}, 413),
        (b"1\n" * 101, LINES, 413),
        (b" " * 100_001, {}, 413),
        (b"{}", {"Content-Type": "text/csv"}, 415),
        (b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415),
        (b"{}", {"Content-Encoding": "gzip"}, 415),
        (b"{}", {"Idempotency-Key": ""}, 422),
        (b"{}", {"Idempotency-Key": "x" * 256}, 422),
    ],
)
def test_hostile_bodies_get_one_line(shop, client, content, headers, status):
    topic = shop.world.settings.topics.events
    before = ends(shop, topic)
    answer = client.post(
        "/v1/events", content=content, headers={"Content-Type": "application/json"} | headers
    )
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert "\n" not in answer.json()["detail"]
    assert len(answer.content) < 1_500
    assert ends(shop, topic) == before
    assert client.post("/v1/events?k=1", json=event()).status_code == 422
    assert shop.app.state.writes.in_flight.bytes == 0


def test_an_erasure_is_no_event(shop, client):
    row = {"user_id": "user-01", "erase": True, "count_from": {}}
    answer = client.post("/v1/events", json=row)
    assert answer.status_code == 422
    assert "erases a user" in answer.json()["errors"][0]["what"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/impressions", "/v1/items", "/v1/users"])
def test_to_write_takes_a_right_of_its_own(shop, path):
    with shop.client() as nobody:
        assert nobody.post(path, json={}).status_code == 401
        lacking = {"Authorization": f"Bearer {SEER}"}
        answer = nobody.post(path, json={}, headers=lacking)
        assert answer.status_code == 403
        assert path.removeprefix("/v1/") in answer.json()["detail"]


def test_a_public_token_writes_events_of_its_own_users_and_does_no_more(shop):
    headers = {"Authorization": f"Bearer {SHOP}"}
    with shop.client(headers=headers) as page:
        answer = page.post("/v1/events", json=[event("anon-5"), event("user-01")])
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
        assert answer.json()["errors"][0]["reason"] == "bad_id"
        for method, path in (
            ("POST", "/v1/items"), ("POST", "/v1/users"), ("DELETE", "/v1/user?user=anon-5"),
            ("GET", "/v1/user?user=anon-5"), ("GET", "/v1/recommendations?user=anon-5"),
        ):  # fmt: skip
            assert page.request(method, path).status_code == 403


@pytest.mark.parametrize(
    ("path", "origin", "method", "is_open"),
    [
        ("/v1/events", "https://shop.example", "POST", True),
        ("/v1/recommendations", "https://shop.example", "POST", True),
        ("/v1/recommendations", "https://shop.example", "GET", False),
        ("/v1/events", "https://other.example", "POST", False),
        ("/v1/items", "https://shop.example", "POST", False),
        ("/v1/user", "https://shop.example", "DELETE", False),
    ],
)
def test_pages_of_origins_may_write_events_and_ask_for_sessions(
    shop, path, origin, method, is_open
):
    asks = {
        "Origin": origin, "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }  # fmt: skip
    with shop.client() as browser:
        answer = browser.options(path, headers=asks)
        allowed = answer.status_code == 200 and (
            answer.headers.get("access-control-allow-origin") == origin
            and method in answer.headers["access-control-allow-methods"]
        )
        assert allowed == is_open
        assert "access-control-allow-credentials" not in answer.headers
        sent = {"Origin": origin, "Authorization": f"Bearer {SHOP}"}
        answer = browser.post("/v1/events", json=event("anon-9"), headers=sent)
        known = answer.headers.get("access-control-allow-origin") == origin
        assert (answer.status_code, known) == (202, origin == "https://shop.example")
        # A page must be able to read why it was refused.
        refused = browser.post("/v1/events", content=b"", headers=sent)
        assert ("access-control-allow-origin" in refused.headers) == known


def test_a_repeated_key_writes_nothing_and_gets_the_same_answer(shop, client):
    topic = shop.world.settings.topics.events
    key = {"Idempotency-Key": "order-1"}
    first = client.post("/v1/events", json=event(), headers=key)
    after = ends(shop, topic)
    again = client.post("/v1/events", json=event(), headers=key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert ends(shop, topic) == after
    other = client.post("/v1/events", json=event("w2"), headers=key)
    assert (other.status_code, other.headers["content-type"]) == (422, PROBLEM)
    # Of another owner or another operation it is another key.
    page = {"Authorization": f"Bearer {SHOP}"} | key
    assert client.post("/v1/events", json=event("anon-1"), headers=page).status_code == 202
    assert client.post("/v1/users", json={"user_id": "w1"}, headers=key).status_code == 202
    for number in range(5):
        client.post("/v1/events", json=event(), headers={"Idempotency-Key": f"more-{number}"})
    assert "idempotency-replayed" not in client.post(
        "/v1/events", json=event(), headers=key
    ).headers  # fmt: skip


def test_many_at_once_lose_nothing_and_share_their_keys(shop):
    """Forty users, each with one key sent four times at once: forty records in all."""
    topic = shop.world.settings.topics.events

    async def send():
        async with httpx.AsyncClient(
            base_url=shop.address, headers=HEADERS, timeout=PATIENCE_S
        ) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        "/v1/events", json=event(f"many-{n}"),
                        headers={"Idempotency-Key": f"many-{n // 2}-{n % 2}"},
                    )
                    for n in range(40)
                    for _ in range(4)
                )
            )  # fmt: skip

    # More keys at once than are remembered: those in progress are never dropped.
    answers = asyncio.run(send())
    assert {answer.status_code for answer in answers} == {202}
    places = {answer.json()["at_least"][0] for answer in answers}
    found = {
        f"{topic}/{record.partition}/{record.offset}"
        for record in logged(shop, topic)
        if record.key.startswith(b"many-")
    }
    assert places == found


def test_what_is_not_acknowledged_is_not_answered_and_a_repeat_gets_its_outcome(
    shop, client, monkeypatch
):
    topic = shop.world.settings.topics.events
    append, go = shop.world.log.append_many, threading.Event()

    def slow(*args):
        assert go.wait(PATIENCE_S)
        return append(*args)

    monkeypatch.setattr(shop.world.log, "append_many", slow)
    monkeypatch.setattr(shop.app.state.writes, "_settings", replace(LIMITS, wait_s=0.3))
    before = sum(ends(shop, topic))
    key = {"Idempotency-Key": "slow"}
    waiting = client.post("/v1/events", json=event(), headers=key)
    assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "5")
    assert "same Idempotency-Key" in waiting.json()["detail"]
    # Too much is in flight now: what is refused is not kept.
    large = [event(more="x" * 800)] * 99
    statuses = [client.post("/v1/events", json=large).status_code for _ in range(2)]
    refused = client.post("/v1/events", json=large)
    assert statuses == [503, 503]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "bytes are being written already" in refused.json()["detail"]
    assert shop.app.state.writes.in_flight.bytes <= LIMITS.in_flight_bytes
    go.set()
    wait_until(lambda: shop.app.state.writes.in_flight.bytes == 0, "the writes")
    monkeypatch.undo()
    again = client.post("/v1/events", json=event(), headers=key)
    assert (again.status_code, again.json()["accepted"]) == (202, 1)
    assert sum(ends(shop, topic)) == before + 1 + 2 * 99


def test_a_log_that_cannot_be_written_is_said_and_a_repeat_tries_again(shop, client, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shop.world.log, "append_many", full)
        key = {"Idempotency-Key": "full"}
        answer = client.post("/v1/events", json=event(), headers=key)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "No space left" in answer.json()["detail"]
        assert client.delete("/v1/user?user=nobody-here").status_code == 503
    assert client.post("/v1/events", json=event(), headers=key).status_code == 202


def test_a_list_does_not_wait_for_ever(world, bundles):
    world.announce(bundles[0])
    console = replace(world.settings.console, at_least_s=0.05)
    world.settings = replace(world.settings, console=console)
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        topics = world.settings.topics
        for at_least, status in (
            (f"{topics.events}/0/99999", 503), (f"{topics.events}/9/0", 404), ("other/0/0", 404),
            (f"{topics.catalogue}/0/0", 404), ("nonsense", 422), (f"{topics.events}/0/0", 200),
        ):  # fmt: skip
            ask = {"user": "user-01", "at_least": at_least}
            answer = client.get("/v1/recommendations", params=ask)
            assert answer.status_code == status
            assert ("retry-after" in answer.headers) == (status == 503)


def test_metrics_count_rows(shop, client):
    client.post("/v1/events", json=[event(), event(kind="x")])
    text = client.get("/metrics").text
    for outcome in ("written", "refused"):
        assert f'segue_http_rows_total{{outcome="{outcome}",records="events"}}' in text
    assert "segue_console_write_bytes 0.0" in text
