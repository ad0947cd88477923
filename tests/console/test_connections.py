"""Clients that open many connections, or never finish a request, lock nobody out."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.guard import BoundedBodies, timed_requests
from console.lists_api import _split
from console.metrics import ConsoleMetrics, Counted
from console.pages import Watchers
from console.parameters import ListQuery
from tests.console.worlds import HEADERS, Served, World, served
from tests.waiting import PATIENCE_S


def with_settings(world: World, **console) -> World:
    world.settings = replace(world.settings, console=replace(world.settings.console, **console))
    return world


def events_of(response: httpx.Response) -> Iterator[str]:
    """The events of a stream; the connection ends with what iterates over them."""
    assert response.status_code == 200
    return (line for line in response.iter_lines() if line.startswith("data: "))


def test_anonymous_watchers_never_lock_others_out(world):
    with served(with_settings(world, watchers=5)) as found, ExitStack() as stack:
        client = stack.enter_context(found.client())
        owner = stack.enter_context(client.stream("GET", "/console/events", headers=HEADERS))
        of_owner = events_of(owner)
        assert next(of_owner)
        anonymous = []
        for _ in range(12):
            watching = stack.enter_context(client.stream("GET", "/console/events"))
            anonymous.append(events_of(watching))
            assert next(anonymous[-1])
        assert len(found.app.state.pages.watchers) == 5
        for ended in anonymous[:8]:
            assert len(list(ended)) < 60, "it ends"
        assert next(of_owner), "a token keeps its place"
        assert next(anonymous[-1])


def test_a_place_is_taken_from_the_client_that_has_most():
    watchers = Watchers(4)
    first = watchers.enter("10.0.0.1", known=False)
    many = [watchers.enter("10.0.0.2", known=False) for _ in range(3)]
    newcomer = watchers.enter("10.0.0.3", known=False)
    assert [w.ended for w in (first, *many, newcomer)] == [False, True, False, False, False]
    known = [watchers.enter("token owner", known=True) for _ in range(4)]
    assert all(w.ended for w in (first, *many, newcomer)), "without a token, before any with one"
    assert not any(w.ended for w in known)
    watchers.leave(many[0])  # its connection ends now
    assert len(watchers) == 4


def closed(connection: socket.socket) -> bool:
    """Whether the server closes a connection; what it sends before is read."""
    connection.settimeout(PATIENCE_S)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


INCOMPLETE = [
    b"",
    b"GET /health HT",
    b"GET /health HTTP/1.1\r\nHost: a\r\nX-Half: ",
    b"POST /v1/recommendations HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{",
    b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /hea",
]


def test_a_request_that_does_not_arrive_is_closed(world):
    with served(with_settings(world, request_s=0.3)) as found, ExitStack() as stack:
        host, port = found.address.removeprefix("http://").split(":")
        opened = [
            stack.enter_context(socket.create_connection((host, int(port))))
            for _ in range(4 * len(INCOMPLETE))
        ]
        for connection, sent in zip(opened, INCOMPLETE * 4, strict=True):
            connection.sendall(sent)
        assert all(closed(connection) for connection in opened)


def test_a_byte_now_and_then_does_not_keep_a_request_open(world):
    with served(with_settings(world, request_s=0.3)) as found:
        host, port = found.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.settimeout(0.05)
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                try:
                    connection.sendall(b"G")
                    if connection.recv(1_000) == b"":
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert time.monotonic() < deadline


def test_a_request_that_is_answered_slowly_stays_open(world):
    with served(with_settings(world, request_s=0.2)) as found, found.client() as client:
        with client.stream("GET", "/console/events") as watching:
            lines = (line for line in watching.iter_lines() if line)
            # One a second: far longer than a request may take to arrive.
            assert [next(lines)[:6] for _ in range(3)] == ["data: "] * 3
        assert client.get("/health").status_code == 200


def test_the_protocol_is_a_class_of_its_own_for_each_limit():
    assert timed_requests(1.0) is not timed_requests(2.0)


async def answer_of(app, scope, *messages) -> tuple[int, bytes]:
    came, sent = [*messages], []

    async def receive():
        return came.pop(0)

    async def send(message):
        sent.append(message)

    await app({"type": "http", "headers": [], "path": "/", **scope}, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent)


async def ok(_scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"9" * 5_000, 413), (b"1" + b"0" * 18, 413), (b"101", 413), (b"100", 200),
        (b"0" * 5_000 + b"7", 200), (b"-1", 413), (b"1e3", 413), (b"", 413), ("²".encode(), 413),
    ],
)  # fmt: skip
async def test_any_length_of_a_body_is_answered(length, status):
    app = BoundedBodies(ok, most=100)
    body = {"type": "http.request", "body": b"", "more_body": False}
    found, _ = await answer_of(app, {"headers": [(b"content-length", length)]}, body)
    assert found == status


@pytest.mark.parametrize(
    ("path", "label"),
    [("/ready", "not_ready"), ("/console/events", "not_ready"), ("/v1/similar", "5xx")],
)
async def test_a_probe_that_is_told_not_yet_is_no_error(path, label):
    async def unready(scope, _receive, send):
        scope["route"] = type("Route", (), {"path": path})
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    metrics = ConsoleMetrics()
    await answer_of(Counted(unready, metrics), {})
    counted = metrics.registry.get_sample_value
    assert counted("segue_http_requests_total", {"route": path, "status": label}) == 1


def test_a_console_that_is_not_ready_counts_no_errors(world):
    with served(world) as found, found.client() as client:
        assert client.get("/ready").status_code == 503
        text = client.get("/metrics").text
        assert 'segue_http_requests_total{route="/ready",status="not_ready"} 1.0' in text
        assert 'status="5xx"' not in text


ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(item_type=ids, item_id=ids)
def test_every_type_and_id_can_be_excluded(item_type, item_id):
    written = item_type.replace("\\", r"\\").replace(":", r"\:")
    [text] = ListQuery(user="u", exclude=[f"{written}:{item_id}"]).exclude
    assert _split(text) == (item_type, item_id)


@given(item_type=ids.filter(lambda name: ":" not in name and "\\" not in name), item_id=ids)
def test_a_type_without_a_colon_needs_no_escape(item_type, item_id):
    [text] = ListQuery(user="u", exclude=[f"{item_type}:{item_id}"]).exclude
    assert _split(text) == (item_type, item_id)


def test_whole_numbers_are_ids(running: Served):
    with running.client() as client:
        asked = {"items": [{"item_type": "podcast", "item_id": 7}], "k": 3}
        text = {"items": [{"item_type": "podcast", "item_id": "7"}], "k": 3}
        answers = [client.post("/v1/recommendations", json=body) for body in (asked, text)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json()["items"] == answers[1].json()["items"]
        for refused in (True, 7.5, None):
            body = {"items": [{"item_type": "podcast", "item_id": refused}]}
            assert client.post("/v1/recommendations", json=body).status_code == 422
