"""Worker processes that are stopped, or fail, at a named point; prints what became of each.

With --natural they are stopped at moments drawn by a seed instead, several in one group, so that
rebalances come by themselves.

Every case is a process of its own, forked from this one, since the end of the process is what is
tested. It reads batches of events and, beside them, requests: with Faust by a plain agent, whose
acknowledgements wait for a commit.
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

import confluent_kafka

from streams.app import create_app
from streams.batches import Batch
from streams.faust_app import FaustApp
from streams.librdkafka_app import LibrdkafkaApp
from streams.running import serve
from streams.security import KafkaSettings
from streams.stop_limit import StopLimit
from tests.integration.stopping_points import POINTS, Point

App = FaustApp | LibrdkafkaApp


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
        self._survivable = not POINTS[options.transport].is_fatal(point)
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
    made: list[App] = []
    arm(made, point, action, mark)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    by_faust = options.transport == "faust"
    app = create_app(
        "natural" if point.after_s is not None else f"group-{uuid.uuid4().hex[:8]}",
        KafkaSettings(bootstrap_servers=options.broker, transport=options.transport),
        batched={options.events: 100} | ({} if by_faust else {options.requests: 100}),
        from_group=() if by_faust else (options.requests,),
    )
    assert isinstance(app, FaustApp | LibrdkafkaApp)
    made.append(app)
    done: set[str] = set()

    def asked() -> None:
        if not done:
            done.add("asked")
            after_first_request(app, point)

    @app.batches(options.events)
    async def count(batch: Batch) -> None:
        await app.commit_positions({(batch.topic, batch.partition): batch.next_offset})

    if isinstance(app, FaustApp):
        if point in POINTS["faust"].commit:
            app.conf.broker_commit_interval = 0.2

        @app.agent(app.topic(options.requests), name="requests")
        async def requests(stream: Any) -> None:
            async for _ in stream:
                asked()

    else:

        @app.batches(options.requests)
        async def take(batch: Batch) -> None:
            await app.commit_positions({(batch.topic, batch.partition): batch.next_offset})
            asked()

    return await serve(app, on_stop=StopLimit().begin)


def after_first_request(app: App, point: Point) -> None:
    if point.rebalance and isinstance(app, FaustApp):
        thread = app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._coordinator.request_rejoin)
    elif point.rebalance:
        threading.Thread(target=come_and_go, args=(app,), daemon=True).start()
    if point.stop:
        os.kill(os.getpid(), signal.SIGTERM)


def come_and_go(app: LibrdkafkaApp) -> None:
    """Be another member of the app's group until it has a partition, which then goes back."""
    properties = dict(app._consumer._properties)
    member = confluent_kafka.Consumer(properties, logger=logging.getLogger("another member"))
    member.subscribe(app._consumer._topics)
    while not member.assignment():
        member.poll(0.1)
    member.close()


def arm(made: list[App], point: Point, action: str, mark: Path) -> None:
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

    def reached_in_thread(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(calls) == point.nth:
            mark.write_text(str(time.monotonic()))
            # The thread waits; the app's loop goes on.
            asyncio.run(act(made[0], action, point))
        return original(self, *args, **kwargs)

    setattr(point.owner, point.method, reached if point.waits else reached_in_thread)


def arm_after(made: list[App], seconds: float, action: str, mark: Path) -> None:
    def now() -> None:
        mark.write_text(str(time.monotonic()))
        if action == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            crashes.append(asyncio.ensure_future(made[0].crash(RuntimeError("made for a test"))))

    crashes: list[asyncio.Future[None]] = []
    asyncio.get_running_loop().call_later(seconds, now)


async def act(app: App, action: str, point: Point) -> None:
    if action == "raise":
        raise RuntimeError("made for a test")
    if action == "cancel":
        raise asyncio.CancelledError
    if action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        crash = lambda: asyncio.ensure_future(app.crash(RuntimeError("made for a test")))  # noqa: E731
        loop_of(app).call_soon_threadsafe(crash)
    # The call goes on when the app is stopping, which is when nothing may wait for it.
    deadline = time.monotonic() + 5
    while not app.should_stop and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    with contextlib.suppress(TimeoutError):
        if not point.stop:
            await asyncio.wait_for(asyncio.Event().wait(), 0.3)


def loop_of(app: App) -> asyncio.AbstractEventLoop:
    """The app's own loop, also where a thread of its client asks."""
    if isinstance(app, FaustApp):
        return app.consumer.loop if app._consumer else asyncio.get_running_loop()
    return app._loop or asyncio.get_running_loop()


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
    parser.add_argument("--transport", choices=POINTS, default="faust")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--all", action="store_true", help="every action at every point")
    parser.add_argument("--only", default="")
    parser.add_argument("--natural", type=int, default=0, help="starts and stops in one group")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.natural:
        run(natural(options.natural, random.Random(options.seed)), options)
        return
    points = POINTS[options.transport]
    cases = [
        (point, action)
        for point in points.every
        for action in (
            point.actions if options.all or points.is_fatal(point) else point.actions[:1]
        )
        if options.only in f"{action}: {point.name}"
    ]
    run(cases, options)


if __name__ == "__main__":
    main()
