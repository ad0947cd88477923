"""Worker processes that are stopped, or fail, at a named point; prints what became of each.

With --natural they are stopped at moments drawn by a seed instead, several in one group, so that
rebalances come by themselves.

Every case is a process of its own, forked from this one, since the end of the process is what is
tested. It reads requests by a plain agent, whose acknowledgements wait for a commit, and batches
beside them.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from streams.app import create_app
from streams.batches import Batch
from streams.consumer_thread import ConsumerThread
from streams.faust_app import FaustApp
from streams.running import serve
from streams.security import KafkaSettings
from streams.stop_limit import StopLimit
from streams.transport import Consumer, Producer

#: What happens at a point: a signal or a crash of the app, then the interrupted call goes on; or
#: the call itself fails or is cancelled.
ACTIONS = ("term", "crash", "raise", "cancel")


@dataclass(frozen=True)
class Point:
    """A moment in a worker's life: the nth call of an async method.

    rebalance: the group is joined again after the first request, which is when the second call is.
    stop:      the worker gets SIGTERM after the first request.
    after_s:   not at a call, but so many seconds after the start.
    """

    name: str
    owner: Any
    method: str
    nth: int = 1
    rebalance: bool = False
    stop: bool = False
    after_s: float | None = None

    @property
    def actions(self) -> tuple[str, ...]:
        """What can happen here: a second signal ends the process at once."""
        return ACTIONS[1:] if self.stop else ACTIONS


START = [
    Point("the producer starts", Producer, "on_start"),
    Point("the client starts", ConsumerThread, "on_start"),
    Point("topics are subscribed", ConsumerThread, "subscribe"),
    Point("the group is joined", CoordinatorGroupRebalance, "perform_group_join"),
    Point("the group is synchronised", CoordinatorGroupRebalance, "_send_sync_group_request"),
    Point("partitions are assigned", ConsumerThread, "on_partitions_assigned"),
]
#: Without these there is no worker: an error there ends the process without a signal.
FATAL = START[:2]
REBALANCE = [
    Point("revoked, in the thread", ConsumerThread, "on_partitions_revoked", 2, rebalance=True),
    Point("revoked, in the app", FaustApp, "_on_partitions_revoked", 2, rebalance=True),
    Point("states are closed", FaustApp, "_close", 2, rebalance=True),
    Point("joined again", CoordinatorGroupRebalance, "perform_group_join", 2, rebalance=True),
    Point("assigned, in the thread", ConsumerThread, "on_partitions_assigned", 2, rebalance=True),
    Point("assigned, in the app", FaustApp, "_on_partitions_assigned", 2, rebalance=True),
    Point("states are opened", FaustApp, "_open", 2, rebalance=True),
    Point("positions are sought", Consumer, "seek_to_committed", 2, rebalance=True),
]
COMMIT = [
    Point("records are fetched", ConsumerThread, "_fetch_records", 3),
    Point("a batch is handled", FaustApp, "_handle"),
    Point("requests are committed", Consumer, "force_commit"),
    Point("offsets are committed, in the thread", ConsumerThread, "_commit"),
]
STOP = [
    Point("the app shuts", FaustApp, "_shut", stop=True),
    Point("the consumer stops", Consumer, "on_stop", stop=True),
    Point("the thread stops", ConsumerThread, "on_thread_stop", stop=True),
    Point("the group is left", ConsumerThread, "_leave", stop=True),
    Point("the producer stops", Producer, "on_stop", stop=True),
]
POINTS = START + REBALANCE + COMMIT + STOP


@dataclass
class Outcome:
    """How a case ended.

    reached:   whether the worker came to the point.
    seconds:   from there to the end of the process, or from the signal that it needed.
    signalled: the worker went on after an error at the point, and got SIGTERM.
    killed:    it did not end at all.
    """

    point: str
    action: str
    reached: bool = False
    seconds: float = 0.0
    status: int | None = None
    signalled: bool = False
    killed: bool = False
    output: str = ""


class Child:
    """One case: the process, and what is known of it from outside."""

    def __init__(self, point: Point, action: str, options: argparse.Namespace) -> None:
        self.outcome = Outcome(point.name, action)
        self._survivable = point not in FATAL
        self._mark = options.folder / f"{uuid.uuid4().hex}.at"
        self._output = self._mark.with_suffix(".output")
        self._began = time.monotonic()
        self._asked: float | None = None
        sys.stdout.flush()
        self._process = os.fork()
        if not self._process:
            with self._output.open("wb") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            end(asyncio.run(work(point, action, options, self._mark)))

    def ended(self) -> bool:
        """Look after the process; returns whether it has ended."""
        now, outcome = time.monotonic(), self.outcome
        reached_at = float(self._mark.read_text() or now) if self._mark.exists() else None
        outcome.reached = reached_at is not None
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            outcome.status = os.waitstatus_to_exitcode(status)
            outcome.seconds = now - (self._asked or reached_at or self._began)
            outcome.output = self._output.read_text(errors="replace")
            return True
        survives = outcome.action in ("raise", "cancel") and self._survivable
        if survives and self._asked is None and reached_at and now - reached_at > SURVIVED_S:
            outcome.signalled, self._asked = True, now
            os.kill(self._process, signal.SIGTERM)
        since = self._asked or reached_at
        if now - (since or self._began) > (GIVEN_UP_S if since else NOT_REACHED_S):
            outcome.killed = True
            os.kill(self._process, signal.SIGKILL)
        return False


#: After an error at a point a worker that still runs has survived it.
SURVIVED_S = 3.0
GIVEN_UP_S = 25.0
NOT_REACHED_S = 300.0


def end(status: int) -> NoReturn:
    """End a forked process as the interpreter does: threads first, a hanging one for ever.

    It does not free the modules, whose pages are shared with the other cases: on a busy machine
    that took five seconds, which are no part of a stop.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def work(point: Point, action: str, options: argparse.Namespace, mark: Path) -> int:
    """Run a worker to which something happens; returns its exit status."""
    # Before the app is made, which keeps some of its methods.
    made: list[FaustApp] = []
    arm(made, point, action, mark)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    app = create_app(
        "natural" if point.after_s is not None else f"group-{uuid.uuid4().hex[:8]}",
        KafkaSettings(bootstrap_servers=options.broker),
        batched={options.events: 100},
    )
    assert isinstance(app, FaustApp)
    if point in COMMIT:
        app.conf.broker_commit_interval = 0.2
    made.append(app)
    done: set[str] = set()

    @app.batches(options.events)
    async def count(batch: Batch) -> None:
        await app.commit_positions({(batch.topic, batch.partition): batch.next_offset})

    @app.agent(app.topic(options.requests), name="requests")
    async def requests(stream: Any) -> None:
        async for _ in stream:
            if not done:
                done.add("asked")
                after_first_request(app, point)

    return await serve(app, on_stop=StopLimit().begin)


def after_first_request(app: FaustApp, point: Point) -> None:
    if point.rebalance:
        thread = app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._coordinator.request_rejoin)
    if point.stop:
        os.kill(os.getpid(), signal.SIGTERM)


def arm(made: list[FaustApp], point: Point, action: str, mark: Path) -> None:
    """Make something happen at the nth call of a method of the app that will be in `made`."""
    if point.after_s is not None:
        arm_after(made, point.after_s, action, mark)
        return
    original, calls = getattr(point.owner, point.method), itertools.count(1)

    async def reached(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == point.nth:
            mark.write_text(str(time.monotonic()))
            await act(made[0], action, point)
        return await original(self, *args, **kwargs)

    setattr(point.owner, point.method, reached)


def arm_after(made: list[FaustApp], seconds: float, action: str, mark: Path) -> None:
    def now() -> None:
        mark.write_text(str(time.monotonic()))
        if action == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            crashes.append(asyncio.ensure_future(made[0].crash(RuntimeError("made for a test"))))

    crashes: list[asyncio.Future[None]] = []
    asyncio.get_running_loop().call_later(seconds, now)


async def act(app: FaustApp, action: str, point: Point) -> None:
    if action == "raise":
        raise RuntimeError("made for a test")
    if action == "cancel":
        raise asyncio.CancelledError
    if action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        loop = app.consumer.loop if app._consumer else asyncio.get_running_loop()
        crash = lambda: asyncio.ensure_future(app.crash(RuntimeError("made for a test")))  # noqa: E731
        loop.call_soon_threadsafe(crash)
    # The call goes on when the app is stopping, which is when nothing may wait for it.
    deadline = time.monotonic() + 5
    while not app.should_stop and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    with contextlib.suppress(TimeoutError):
        if not point.stop:
            await asyncio.wait_for(asyncio.Event().wait(), 0.3)


def natural(count: int, chance: random.Random) -> list[tuple[Point, str]]:
    """Starts that are stopped at any moment of their first three seconds; one in four crashes."""
    return [
        (
            Point(f"start {number}", None, "", after_s=3.0 * chance.random()),
            "crash" if chance.random() < 0.25 else "term",
        )
        for number in range(count)
    ]


def run(cases: Iterable[tuple[Point, str]], options: argparse.Namespace) -> None:
    waiting, running = list(cases), []
    while waiting or running:
        while waiting and len(running) < options.at_once:
            running.append(Child(*waiting.pop(0), options))
        for child in [child for child in running if child.ended()]:
            running.remove(child)
            sys.stdout.write(json.dumps(asdict(child.outcome)) + "\n")
            sys.stdout.flush()
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--events", required=True)
    parser.add_argument("--requests", required=True)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--all", action="store_true", help="every action at every point")
    parser.add_argument("--only", default="")
    parser.add_argument("--natural", type=int, default=0, help="starts and stops in one group")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.natural:
        run(natural(options.natural, random.Random(options.seed)), options)
        return
    cases = [
        (point, action)
        for point in POINTS
        for action in (point.actions if options.all or point in FATAL else point.actions[:1])
        if options.only in f"{action}: {point.name}"
    ]
    run(cases, options)


if __name__ == "__main__":
    main()
