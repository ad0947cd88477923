"""Make a replay the workers' state: the last step of a change of state settings."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.settings import Settings
from segue.state_folders import CHECKPOINT, LIVE, FoundState, StateNotFound, found_state
from state import Checkpoints, PartitionState
from streams import group_members

__all__ = ["WorkersRun", "move_state"]

Progress = Callable[[int, int], None]
"""(partitions that are moved, all partitions)"""


class WorkersRun(Exception):
    """Workers run, which would write checkpoints of their own state; the message names them."""


def move_state(
    settings: Settings, name: str, *, with_broker: bool, now_ms: int, progress: Progress
) -> dict[str, Any]:
    """Replace the checkpoints of all partitions by a replay; returns a summary as JSON values.

    Workers that start with the replay's settings restore it and continue with the log after it.
    It can be repeated: a move that was interrupted is finished by the next one.

    with_broker: whether to require that the workers' group in Kafka has no members.
    Raises WorkersRun, StateNotFound for an incomplete replay, WrongState if it was made with other
    settings, DamagedState, AdminError, and OSError if the store fails.
    """
    if name in (LIVE, CHECKPOINT):
        raise StateNotFound(f"{name} is the workers' state already: expected the name of a replay")
    group = settings.worker.group
    if with_broker and (members := group_members(settings.kafka, group)):
        raise WorkersRun(
            f"group {group} has members: {', '.join(members)}. Stop all workers, then repeat this"
        )
    started, moved = time.monotonic(), []
    with found_state(settings, name) as found:
        _require_whole(settings, found)
        checkpoints = Checkpoints(settings.store())
        for done, (partition, folder) in enumerate(sorted(found.folders.items())):
            progress(done, len(found.folders))
            moved.append(_moved(settings, checkpoints, partition, folder, now_ms))
        progress(len(found.folders), len(found.folders))
    return {
        "name": name,
        "partitions": moved,
        "seconds": round(time.monotonic() - started, 1),
    }


def _require_whole(settings: Settings, found: FoundState) -> None:
    if found.notes:
        raise StateNotFound("; ".join(found.notes))
    missing = set(range(settings.topics.partitions)) - found.folders.keys()
    if missing:
        raise StateNotFound(f"{found.name} lacks partitions {', '.join(map(str, sorted(missing)))}")


def _moved(
    settings: Settings, checkpoints: Checkpoints, partition: int, folder: Path, now_ms: int
) -> dict[str, Any]:
    state = PartitionState(folder, partition, settings.state)
    try:
        scratch = folder.with_name(f"{folder.name}.moving")
        uploaded = checkpoints.replace(state, scratch, now_ms)
    finally:
        state.close()
    return {
        "partition": partition,
        "checkpoint": uploaded.name,
        "bytes": uploaded.manifest.bytes,
        "positions": dict(uploaded.manifest.positions),
    }
