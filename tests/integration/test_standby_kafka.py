"""Two workers on a real broker: each follows what the other owns, and takes it over."""

from dataclasses import replace

import pytest

from agents import Worker
from segue.settings import Settings
from tests.agents.test_standby import Answers
from tests.agents.worlds import answer_by
from tests.integration.test_log_changes import USERS, applied, running, world, write
from tests.waiting import until

__all__ = ["world"]

pytestmark = pytest.mark.integration


def positions(worker: Worker) -> dict[int, int]:
    """Events that a worker's own states have applied, by partition."""
    return {n: sum(s.counts.values()) for n, s in worker.partitions.states.items()}


def followed(worker: Worker) -> dict[int, int]:
    """Events that its standby has applied, by partition."""
    assert worker.standby is not None
    states = worker.standby._copies.partitions.states
    return {number: sum(states[number].counts.values()) for number in worker.standby.followed}


async def test_a_worker_continues_from_its_standby(world: Settings) -> None:
    settings = replace(world, worker=replace(world.worker, standby=True))
    async with running(settings, "two") as (second, serving):
        answer_by(second, Answers())
        async with running(settings, "one") as (first, serving_first):
            answer_by(first, Answers())
            await until(
                lambda: len(first.partitions.states) == len(second.partitions.states) == 1,
                "a partition for each",
            )
            await write(settings, 2, "a", "b")
            await until(
                lambda: followed(second) == positions(first) and followed(first)
                == positions(second) and sum(positions(first).values()) > 0,
                "standbys that follow",
                ended=lambda: repr(serving_first.result()) if serving_first.done() else "",
            )  # fmt: skip
        await write(settings, 2, "c")
        await applied(second, serving, 3 * USERS)
        assert sum(positions(second).values()) == 3 * USERS
        assert followed(second) == {}
