"""The liveness probe: fails when a part of a role hangs, though the port still answers."""

import asyncio
import json
import threading
import urllib.error
import urllib.request

from prometheus_client import CollectorRegistry, Counter

from segue.serving_metrics import serve_metrics
from streams.pulse import Pulse
from tests.waiting import PATIENCE_S


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_probe_fails_while_a_part_is_silent_and_metrics_are_served_all_the_same() -> None:
    clock, registry = Clock(), CollectorRegistry()
    Counter("things", "Things.", registry=registry).inc()
    pulse = Pulse(clock, silent_s=30.0)
    port = serve_metrics(0, "127.0.0.1", registry, pulse)
    assert ask(port, "/live")[0] == 200, "a role that has not started yet is not restarted"

    pulse.beat("the event loop")
    pulse.beat("the consumer's thread")
    clock.now = 29.0
    pulse.beat("the event loop")
    assert ask(port, "/live")[0] == 200
    clock.now = 31.0

    status, body = ask(port, "/live")
    assert status == 503
    assert json.loads(body) == {"live": False, "silent_s": {"the consumer's thread": 31.0}}
    assert "things_total 1.0" in ask(port, "/metrics")[1]

    pulse.beat("the consumer's thread")
    assert ask(port, "/live")[0] == 200


async def test_a_loop_gives_signs_of_life_and_one_that_has_ended_gives_none() -> None:
    clock = Clock()
    pulse, began, hold = Pulse(clock, silent_s=1.0), threading.Event(), threading.Event()

    async def beat_then_hang() -> None:
        beating = asyncio.ensure_future(pulse.keep("a loop"))
        await asyncio.sleep(0)
        began.set()
        hold.wait(PATIENCE_S)  # the loop stands still
        beating.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(beat_then_hang()))
    thread.start()
    began.wait(PATIENCE_S)
    assert pulse.silent() == {}
    clock.now = 2.0
    assert pulse.silent() == {"a loop": 2.0}

    hold.set()
    thread.join()
    assert pulse.silent() == {"a loop": 2.0}
