"""What the faults can rely on, whichever fault came before."""

import asyncio
import random
from types import SimpleNamespace

from tests.crash.faults import FAULTS, Scene, draw_faults


def test_every_kind_is_drawn_before_one_is_drawn_twice():
    drawn = [fault.name for fault in draw_faults(3, len(FAULTS) + 5, FAULTS)]
    assert sorted(drawn[: len(FAULTS)]) == sorted(fault.name for fault in FAULTS)
    assert drawn == [fault.name for fault in draw_faults(3, len(FAULTS) + 5, FAULTS)]


async def test_a_victim_is_waited_for_where_the_fault_before_has_ended_all():
    cluster = SimpleNamespace(running=[])
    scene = Scene(cluster, writer=None, clients=None, small_disk=None, broken=set())
    found = asyncio.ensure_future(scene.victim(random.Random(0)))
    await asyncio.sleep(0)
    assert not found.done()
    cluster.running = ["worker-1"]
    assert await found == "worker-1"
