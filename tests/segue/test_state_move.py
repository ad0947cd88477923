"""`segue state move`: workers with new settings continue from a replay."""

import asyncio
import shutil

import pytest

from agents.outputs import EmbeddedOutputs
from segue.roles import make_worker
from segue.settings import load_settings
from state import WrongState
from streams import EmbeddedLog
from tests.segue.test_replay_and_state import NOW, PARTITIONS, World

WINDOW = ["--set", "state.window.buckets=30"]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path).make()


def opened(world, flags=()):
    """Start the worker with more settings, and stop it."""
    settings = load_settings(None, {}, [*world.flags[1::2], *flags[1::2]])
    names = settings.topics
    with EmbeddedLog(world.folder / "embedded-log") as log:
        worker = make_worker(settings, "w", EmbeddedOutputs(log), lambda: NOW)
        try:
            asyncio.run(worker.assigned([(names.events, n) for n in range(PARTITIONS)]))
        finally:
            worker.close()


def states(world):
    return sorted(path.name for path in (world.folder / "workers" / "w" / "state").iterdir())


def test_a_worker_with_a_new_window_continues_from_the_replay(world):
    world.replay("thirty", *WINDOW)
    with pytest.raises(WrongState, match="made with other settings"):
        opened(world, WINDOW)
    moved = world.json("state", "move", "thirty", "--log", "embedded", *WINDOW)
    assert [part["partition"] for part in moved["partitions"]] == [0, 1]
    opened(world, WINDOW)
    assert world.json("state", "diff", "live", "thirty", *WINDOW)["equal"]
    assert {"00000.other-settings", "00001.other-settings"} <= set(states(world))
    # An empty disk is restored from the same checkpoints.
    shutil.rmtree(world.folder / "workers")
    opened(world, WINDOW)
    assert world.json("state", "diff", "live", "thirty", *WINDOW)["equal"]


def test_a_move_that_was_interrupted_is_finished_by_the_next_one(world):
    world.replay("thirty", *WINDOW)
    first = world.json("state", "move", "thirty", "--log", "embedded", *WINDOW)
    again = world.json("state", "move", "thirty", "--log", "embedded", *WINDOW)
    assert [p["positions"] for p in first["partitions"]] == [
        p["positions"] for p in again["partitions"]
    ]


def test_what_is_no_whole_state_of_these_settings_is_not_moved(world):
    world.replay("thirty", *WINDOW)
    before = world.content()

    def refused(name, *flags):
        done = world.segue("state", "move", name, "--log", "embedded", *flags, status=1)
        assert "Traceback" not in done.output
        assert world.content() == before
        return done.output

    assert "made with other settings" in refused("thirty")
    assert "is the workers' state already" in refused("checkpoint")
    shutil.rmtree(world.folder / "replays" / "thirty" / "00001")
    assert "lacks partitions 1" in refused("thirty", *WINDOW)
    (world.folder / "replays" / "thirty" / "replay.json").unlink()
    assert "incomplete" in refused("thirty", *WINDOW)
