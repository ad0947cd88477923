"""The open partitions of a worker: one state for each partition number of the keyed topics."""

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from agents.working.earlier_topics import EarlierTopics
from agents.working.leftovers import other_log_folder, remove_aside, remove_leftovers
from dynamic_layer import UserState
from state import (
    CheckpointManifest,
    Checkpoints,
    History,
    MadeFrom,
    PartitionState,
    ShownItems,
    StateSettings,
    open_or_restore,
)
from state.batches import Bools
from streams import LogChanged, TopicIdentity, check_identity

__all__ = ["Partitions", "Snapshot", "States", "check_made_from", "user_state"]

logger = logging.getLogger(__name__)

#: In the names of snapshots' folders, which lie beside those of the states.
_SNAPSHOT = ".checkpoint-"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state's files as of one commit, linked into a folder of their own."""

    manifest: CheckpointManifest
    folder: Path


class States(Protocol):
    """Open states by partition number."""

    def __getitem__(self, partition: int, /) -> PartitionState: ...


def user_state(state: PartitionState, user_id: str) -> UserState:
    """Return what a partition's state knows of one of its users, as a recommender reads it."""
    user, shown = state.user(user_id), state.shown(user_id)
    if not state.settings.actions:
        history = state.history(user_id)
        return _user_of(user_id, user, history, slice(None), shown)
    history, found = state.reactions(user_id)
    # What is disliked is no sign of taste, whatever the user did with it before.
    return replace(
        _user_of(user_id, user, history, found.liked, shown),
        history_known=found.known[found.liked],
        disliked=found.disliked,
        demotion=state.settings.demotion,
    )


def _user_of(
    user_id: str, user: Mapping[str, Any], history: History, entries: slice | Bools,
    shown: ShownItems,
) -> UserState:  # fmt: skip
    return UserState(
        user_id=user_id,
        history_item=history.item_keys[entries],
        history_time=history.time[entries],
        history_strong=history.strong[entries],
        history_strong_time=history.strong_time[entries],
        shown=shown if len(shown) else None,
        country=str(user.get("country") or ""),
        birth_year=int(user.get("birth_year") or 0),
        attributes=user.get("attributes") or {},
    )


def check_made_from(state: PartitionState, found: Iterable[TopicIdentity]) -> None:
    """Raise LogChanged if a state was made from other topics than those found.

    Where several differ, one whose partitions alone are others is named first: it cannot be helped
    by reading it from its beginning.
    """
    changed: list[LogChanged] = []
    for identity in found:
        made = state.made_from(identity.topic)
        if made is not None and state.position(identity.topic) is not None:
            theirs = TopicIdentity(topic=identity.topic, id=made.id, partitions=made.partitions)
            try:
                check_identity(theirs, identity, state.partition)
            except LogChanged as error:
                changed.append(error)
    if changed:
        raise min(changed, key=lambda error: error.another_topic)


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
        # Each snapshot has a folder of its own: one may be taken while another is uploaded.
        self._snapshots = itertools.count()
        for left in folder.glob(f"*{_SNAPSHOT}*"):
            shutil.rmtree(left, ignore_errors=True)
        self.states: dict[int, PartitionState] = {}
        self._uploads = 0
        # Their first commit is still to say of which topics an earlier one of the name was read.
        self._begun_again: dict[int, EarlierTopics] = {}

    @property
    def uploading(self) -> bool:
        """Whether an upload is under way; a stop may take as long as that takes."""
        return self._uploads > 0

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
            "%s/%d: the log no longer holds offsets %d to %d; the state continues without "
            "them and records the gap (segue state diff shows it)",
            topic, partition, first, offset - 1,
        )  # fmt: skip

    def note_log(
        self, found: Mapping[str, TopicIdentity], numbers: Container[int] | None = None
    ) -> None:
        """Note in the open states, or those of some numbers, which topics they are made from.

        Raises LogChanged if these are others than before.
        """
        states = [state for _, state in self._some(numbers)]
        for state in states:
            check_made_from(state, found.values())
        for state in states:
            noted = [self._note(state, its) for its in found.values()]
            # A version that did not note it has made the position. A state with uncommitted work
            # waits for the commit of this work, before which its outputs are flushed.
            if any(noted) and state.positions == state.committed:
                state.commit()

    def _note(self, state: PartitionState, found: TopicIdentity) -> bool:
        """`PartitionState.set_made_from` by a topic of now."""
        earlier = self._begun_again.get(state.partition)
        again = earlier is not None and earlier.have_earlier(found)
        made = MadeFrom(id=found.id, partitions=found.partitions, again=again)
        return state.set_made_from(found.topic, made)

    def begin_again(
        self,
        found: Mapping[str, TopicIdentity],
        numbers: Container[int] | None = None,
        *,
        with_store: bool = True,
    ) -> None:
        """Put aside the open states that were made from other topics; fresh ones take their place.

        numbers: as of `note_log`. with_store: put their checkpoints aside too; otherwise a fresh
        state is restored from them.
        """
        for number, state in self._some(numbers):
            try:
                check_made_from(state, found.values())
            except LogChanged as changed:
                if not changed.another_topic:
                    raise
                earlier = EarlierTopics(topics=state.topics_read)
                # Where the store fails below, what is closed is not closed again.
                del self.states[number]
                state.close()
                folder, aside = state.folder, other_log_folder(state.folder)
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
                os.utime(aside)  # the week counts from now
                logger.warning(
                    "partition %d begins again; the old state is put aside as %s until a user is "
                    "erased or a week is over: %s", number, aside, changed,
                )  # fmt: skip
                if with_store:
                    self._checkpoints.put_aside(number)
                fresh = open_or_restore(self._checkpoints, folder, number, self._settings)
                self.states[number] = fresh
                if not fresh.positions:
                    self._begun_again[number] = earlier

    def open(self, assigned: Iterable[tuple[str, int]]) -> list[int]:
        """Open the states of assigned partitions; returns the numbers that are new here."""
        opened = []
        for topic, partition in assigned:
            if topic not in self._keyed:
                continue
            self._assigned.setdefault(partition, set()).add(topic)
            if partition not in self.states:
                place = self._place(partition)
                state = open_or_restore(self._checkpoints, place, partition, self._settings)
                self.states[partition] = state
                # A worker that began again may have ended before it wrote a checkpoint.
                if not state.positions and (
                    earlier := EarlierTopics.of(self._checkpoints, place, partition, self._settings)
                ):
                    self._begun_again[partition] = earlier
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
                self._begun_again.pop(partition, None)
                closed.append(partition)
        if closed:
            self._share_cache()
        return closed

    def snapshot(self, partition: int) -> Snapshot:
        """Commit a state and hard-link it aside; quick, unlike the upload.

        After an erasure the files that held the user are rewritten first.
        """
        state = self.states[partition]
        state.commit()
        self.compact_erased(partition)
        folder = self._folder / f"{partition:05d}{_SNAPSHOT}{next(self._snapshots)}"
        manifest = self._checkpoints.snapshot(state, folder, self._clock_ms())
        return Snapshot(manifest=manifest, folder=folder)

    def compact_erased(self, partition: int) -> None:
        """Remove the bytes of erased users from this disk, after a commit of the state."""
        state = self.states[partition]
        if state.uncompacted:
            remove_aside(state.folder)
        state.compact_erased()

    def upload(self, snapshot: Snapshot) -> str:
        """Upload what `snapshot` put aside; returns the checkpoint's name.

        The state may go on, be revoked or be closed meanwhile. Raises OSError if the store fails,
        DamagedState if a file is damaged.
        """
        self._uploads += 1
        try:
            uploaded = self._checkpoints.upload(
                snapshot.manifest, snapshot.folder, self._place(snapshot.manifest.partition)
            )
        finally:
            self._uploads -= 1
        logger.info(
            "checkpoint %s of partition %d: %d bytes, %d new",
            uploaded.name, snapshot.manifest.partition, uploaded.manifest.bytes,
            uploaded.new_bytes,
        )  # fmt: skip
        return uploaded.name

    def upload_left(self, snapshot: Snapshot) -> str | None:
        """Upload a snapshot of a state that was closed; None if a further checkpoint is there.

        The next owner may have written it. Behind it an older one serves no purpose, and may hold
        users that were erased since. Raises as `upload` does.
        """
        self._uploads += 1
        try:
            further = self._checkpoints.has_further(snapshot.manifest)
            return None if further else self.upload(snapshot)
        finally:
            self._uploads -= 1
            shutil.rmtree(snapshot.folder, ignore_errors=True)

    def older_checkpoints(self, partition: int, topic: str) -> list[tuple[str, int, int]]:
        """Checkpoints of a partition: (name, position of the topic, checkpoints until pruned)."""
        found = self._checkpoints.positions(partition, topic)
        spare = self._checkpoints.keep - len(found)
        return [(name, at, spare + nth) for nth, (name, at) in enumerate(found, 1)]

    def holds_erased(self, partition: int, erased: Mapping[str, int] | None = None) -> bool:
        """Whether a checkpoint of a partition is older than the last erasure in its state.

        erased: offset of the last erasure by topic, where the state may be closed meanwhile.
        Raises OSError if the store fails.
        """
        if erased is None:
            erased = self.states[partition].erased
        return any(
            at <= offset
            for topic, offset in erased.items()
            for _, at in self._checkpoints.positions(partition, topic)
        )

    def remove_leftovers(self, in_use: Container[int] | None = None) -> None:
        """Remove folders of states that have not been used for a week.

        in_use: numbers of the states to leave, by default those that are open. In another thread
        they are needed as of before: a worker that closes meanwhile leaves its states behind.
        """
        kept = set(self.states) if in_use is None else in_use
        remove_leftovers(self._folder, kept, self._clock_ms())

    def _some(self, numbers: Container[int] | None) -> list[tuple[int, PartitionState]]:
        """Return the open states, or those of some numbers; a copy, as others may come and go."""
        open_now = list(self.states.items())
        return [one for one in open_now if numbers is None or one[0] in numbers]

    def _share_cache(self) -> None:
        states = self._some(None)
        for _, state in states:
            state.share_cache(len(states))

    def _place(self, partition: int) -> Path:
        return self._folder / f"{partition:05d}"

    def close_all(self) -> None:
        """Close every state; uncommitted work is dropped."""
        for state in self.states.values():
            state.close()
        self.states.clear()
        self._assigned.clear()
