"""The open partitions of a worker: one state for each partition number of the keyed topics."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from dynamic_layer import UserState
from state import CheckpointManifest, Checkpoints, PartitionState, StateSettings

__all__ = ["Partitions", "States", "user_state"]

logger = logging.getLogger(__name__)


class States(Protocol):
    """Open states by partition number."""

    def __getitem__(self, partition: int, /) -> PartitionState: ...


def user_state(state: PartitionState, user_id: str) -> UserState:
    """Return what a partition's state knows of one of its users, as a recommender reads it."""
    history, user = state.history(user_id), state.user(user_id)
    return UserState(
        user_id=user_id,
        history_item=history.item_keys,
        history_time=history.time,
        history_strong=history.strong,
        country=str(user.get("country") or ""),
        birth_year=int(user.get("birth_year") or 0),
    )


class Partitions:
    """Opens states when partitions are assigned and closes them when they are revoked.

    All topics' partitions of one number share a state; it is open while any of
    them is assigned.
    """

    def __init__(
        self,
        folder: Path,
        settings: StateSettings,
        topics: Iterable[str],
        checkpoints: Checkpoints,
        clock_ms: Callable[[], int],
    ) -> None:
        """Keep states below `folder`, of partitions of these topics."""
        self._folder = folder
        self._settings = settings
        self._keyed = set(topics)
        self._checkpoints = checkpoints
        self._clock_ms = clock_ms
        self._assigned: dict[int, set[str]] = {}
        self.states: dict[int, PartitionState] = {}

    def __getitem__(self, partition: int) -> PartitionState:
        return self.states[partition]

    def position(self, topic: str, partition: int) -> int | None:
        """Next offset to read, from the state; None where nothing was applied yet."""
        state = self.states.get(partition)
        return state.position(topic) if state else None

    def rewind(self, topic: str, partition: int) -> int:
        """Records before the position to read again, since users of theirs are not answered."""
        state = self.states.get(partition)
        return state.behind(topic) if state else 0

    def pass_over(self, topic: str, partition: int, offset: int) -> None:
        """Have a state go on at an offset, without the records before it, and remember that."""
        state = self.states[partition]
        first = state.position(topic) or 0
        state.pass_over(topic, offset)
        logger.warning(
            "%s/%d: the log no longer holds offsets %d to %d; the state goes on without them, and "
            "says so (segue state diff shows what a state is missing)",
            topic, partition, first, offset - 1,
        )  # fmt: skip

    def open(self, assigned: Iterable[tuple[str, int]]) -> list[int]:
        """Open the states of assigned partitions; returns the numbers that are new here."""
        opened = []
        for topic, partition in assigned:
            if topic not in self._keyed:
                continue
            self._assigned.setdefault(partition, set()).add(topic)
            if partition not in self.states:
                self.states[partition] = self._checkpoints.open_or_restore(
                    self._folder / f"{partition:05d}", partition, self._settings
                )
                opened.append(partition)
        if opened:
            self._share_cache()
            logger.info("opened partitions %s", sorted(opened))
        return opened

    def close(self, revoked: Iterable[tuple[str, int]]) -> list[int]:
        """Close the states of which nothing is assigned any more; uncommitted work is dropped."""
        closed = []
        for topic, partition in revoked:
            remaining = self._assigned.get(partition)
            if remaining is None or topic not in self._keyed:
                continue
            remaining.discard(topic)
            if not remaining:
                del self._assigned[partition]
                self.states.pop(partition).close()
                closed.append(partition)
        if closed:
            self._share_cache()
        return closed

    def snapshot(self, partition: int) -> CheckpointManifest:
        """Commit a state and hard-link it aside; quick, unlike the upload.

        After an erasure the files that held the user are rewritten first.
        """
        state = self.states[partition]
        state.commit()
        state.compact_erased()
        return self._checkpoints.snapshot(state, self._scratch(partition), self._clock_ms())

    def upload(self, manifest: CheckpointManifest) -> str:
        """Upload what `snapshot` put aside; returns the checkpoint's name.

        The state may go on, be revoked or be closed meanwhile.
        """
        uploaded = self._checkpoints.upload(manifest, self._scratch(manifest.partition))
        logger.info(
            "checkpoint %s of partition %d: %d bytes, %d new",
            uploaded.name, manifest.partition, uploaded.manifest.bytes, uploaded.new_bytes,
        )  # fmt: skip
        return uploaded.name

    def older_checkpoints(self, partition: int, topic: str) -> list[tuple[str, int, int]]:
        """Checkpoints of a partition: (name, position of the topic, checkpoints until pruned)."""
        found = self._checkpoints.positions(partition, topic)
        spare = self._checkpoints.keep - len(found)
        return [(name, at, spare + nth) for nth, (name, at) in enumerate(found, 1)]

    def holds_erased(self, partition: int) -> bool:
        """Whether a checkpoint of a partition is older than the last erasure in its state."""
        return any(
            at <= offset
            for topic, offset in self.states[partition].erased.items()
            for _, at in self._checkpoints.positions(partition, topic)
        )

    def _share_cache(self) -> None:
        for state in self.states.values():
            state.share_cache(len(self.states))

    def _scratch(self, partition: int) -> Path:
        return self._folder / f"{partition:05d}.checkpoint"

    def close_all(self) -> None:
        """Close every state; uncommitted work is dropped."""
        for state in self.states.values():
            state.close()
        self.states.clear()
        self._assigned.clear()
