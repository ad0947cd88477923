"""The consumer's thread: nothing waits for it, or in it, longer than it lives."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import ConsumerStoppedError

from streams import KafkaSettings
from streams.app import create_app
from streams.consumer_thread import ConsumerThread
from streams.faust_app import FaustApp
from streams.stop_limit import StopLimit

SOON_S = 45.0
"""Less than what the thread waits for by itself, which is for ever or a minute."""


@pytest.fixture
async def app() -> AsyncIterator[FaustApp]:
    app = create_app("group", KafkaSettings(), batched={"events": 10})
    assert isinstance(app, FaustApp)
    yield app
    await asyncio.wait_for(app.consumer._thread.stop(), SOON_S)


@pytest.fixture
def thread(app: FaustApp, monkeypatch: pytest.MonkeyPatch) -> ConsumerThread:
    """A thread that makes no client when it starts."""

    async def on_start(_thread: ConsumerThread) -> None: ...

    monkeypatch.setattr(ConsumerThread, "on_start", on_start)
    found: ConsumerThread = app.consumer._thread
    return found


async def without_end() -> None:
    await asyncio.Event().wait()


async def test_a_call_is_answered_by_the_thread(thread: ConsumerThread) -> None:
    async def place(word: str) -> tuple[str, str]:
        return word, threading.current_thread().name

    await thread.start()

    word, name = await asyncio.wait_for(thread.call_thread(place, "here"), SOON_S)
    assert word == "here"
    assert name != threading.current_thread().name
    assert thread._thread is not None
    assert thread._thread.daemon, "the process ends without the thread"


async def test_a_call_fails_when_the_thread_stops_and_afterwards(thread: ConsumerThread) -> None:
    await thread.start()
    calling = asyncio.ensure_future(thread.call_thread(without_end))
    await asyncio.wait({calling}, timeout=0.05)

    await asyncio.wait_for(thread.stop(), SOON_S)

    with pytest.raises(ConsumerStoppedError):
        await asyncio.wait_for(calling, SOON_S)
    with pytest.raises(ConsumerStoppedError):
        await asyncio.wait_for(thread.call_thread(without_end), SOON_S)


async def test_a_call_that_the_thread_no_longer_begins_fails(
    thread: ConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that ends leaves calls behind that it has taken and not begun."""
    monkeypatch.setattr(thread, "_begin", lambda *_: None)
    await thread.start()
    calling = asyncio.ensure_future(thread.call_thread(without_end))
    await asyncio.wait({calling}, timeout=0.05)

    await asyncio.wait_for(thread.stop(), SOON_S)

    with pytest.raises(ConsumerStoppedError):
        await asyncio.wait_for(calling, SOON_S)


async def test_a_thread_that_ends_by_itself_fails_its_calls_and_crashes_the_app(
    app: FaustApp, thread: ConsumerThread
) -> None:
    await thread.start()
    calling = asyncio.ensure_future(thread.call_thread(without_end))
    assert thread._serving is not None

    thread.thread_loop.call_soon_threadsafe(thread._serving.cancel)

    with pytest.raises(ConsumerStoppedError):
        await asyncio.wait_for(calling, SOON_S)
    await asyncio.wait_for(app.wait_for_crash(), SOON_S)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("no client")])
async def test_a_start_fails_when_the_thread_ends_before_it_runs(
    thread: ConsumerThread, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    async def on_start(_thread: ConsumerThread) -> None:
        raise error

    monkeypatch.setattr(ConsumerThread, "on_start", on_start)

    expected = RuntimeError if isinstance(error, RuntimeError) else ConsumerStoppedError
    with pytest.raises(expected):
        await asyncio.wait_for(thread.start(), SOON_S)


async def test_a_thread_that_is_still_connecting_stops(
    thread: ConsumerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = threading.Event()

    async def on_start(_thread: ConsumerThread) -> None:
        connecting.set()
        await without_end()

    monkeypatch.setattr(ConsumerThread, "on_start", on_start)
    starting = asyncio.ensure_future(thread.start())
    await asyncio.to_thread(connecting.wait, SOON_S)

    await asyncio.wait_for(thread.stop(), SOON_S)

    with pytest.raises(ConsumerStoppedError):
        await asyncio.wait_for(starting, SOON_S)


@pytest.mark.parametrize("callback", ["on_partitions_revoked", "on_partitions_assigned"])
async def test_a_member_whose_app_stops_neither_waits_for_it_nor_goes_on_to_join(
    app: FaustApp, thread: ConsumerThread, callback: str
) -> None:
    await thread.start()
    app._crash(RuntimeError("made for a test"))
    reacted: list[Any] = []
    thread.consumer._on_partitions_revoked = reacted.append
    thread.consumer._on_partitions_assigned = reacted.append

    rebalance = asyncio.run_coroutine_threadsafe(
        getattr(thread, callback)(set()), thread.thread_loop
    )
    done = asyncio.wrap_future(rebalance)
    await asyncio.wait({done}, timeout=SOON_S)

    assert done.cancelled(), "the coordinator's work ends"
    assert reacted == []


async def test_the_app_does_not_close_the_threads_client(thread: ConsumerThread) -> None:
    client = thread._consumer = type("Client", (), {"_closed": False})()
    thread.close()
    assert not client._closed
    thread._consumer = None


async def test_the_thread_gives_signs_of_life(app: FaustApp, thread: ConsumerThread) -> None:
    await thread.start()
    await asyncio.wait_for(thread.call_thread(asyncio.sleep, 0), SOON_S)
    assert "the consumer's thread" in app.pulse._last


def test_a_stop_that_hangs_ends_the_process_and_one_that_uploads_does_not() -> None:
    ends, ended = [], threading.Event()
    uploading = threading.Event()
    uploading.set()

    def end(status: int) -> None:
        ends.append(status)
        ended.set()

    StopLimit(uploading.is_set, limit_s=0.2, end=end).begin()
    assert not ended.wait(1.0), "an upload may take its time"
    uploading.clear()
    assert ended.wait(SOON_S)
    assert ends == [1]
