"""When a worker's partitions are checkpointed, and the uploads of those that it leaves."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence

from agents.patience import UPLOADS
from agents.settings import WorkerSettings
from agents.working.partitions import Partitions, Snapshot
from agents.working.tally import Tally
from state import DamagedState

__all__ = ["Checkpointing"]

logger = logging.getLogger(__name__)

#: Time between two looks for folders of states that are no longer used.
SWEEP_EVERY_MS = 3_600_000


class Checkpointing:
    """Checkpoints partitions that changed, one upload at a time, beside the worker's batches.

    A failing artifact store does not block: a checkpoint that failed is due again. changed:
    partitions to checkpoint: their state changed, an older checkpoint holds an erased user and
    stays until newer ones have pushed it out, or files of an erased user are still on the disk.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        partitions: Partitions,
        tally: Tally,
        clock_ms: Callable[[], int],
        ticks_ms: Callable[[], int],
        *,
        turn: asyncio.Lock,
        commit: Callable[[set[int]], Awaitable[None]],
    ) -> None:
        """turn: held while states are read or written; commit: of partitions, in a turn."""
        self._settings, self._partitions, self._tally = settings, partitions, tally
        self._clock_ms, self._ticks_ms = clock_ms, ticks_ms
        self._turn, self._commit = turn, commit
        # One upload at a time. Taken before the turn, and never waited for by a rebalance.
        self._uploading = asyncio.Lock()
        self._leaving: set[asyncio.Future[None]] = set()
        self._failed = 0  # uploads in a row
        self._done_at: dict[int, int] = {}
        self._swept_at: int | None = None
        self.changed: set[int] = set()

    def opened(self, partition: int, now: int) -> None:
        """Take note that a partition was opened; its first checkpoint is due an interval later."""
        self._done_at[partition] = now

    def closed(self) -> None:
        """Forget what changed in partitions that are not open any more."""
        self.changed &= self._partitions.states.keys()

    async def all_that_changed(self) -> list[str]:
        """Checkpoint every open partition that changed; returns the names of the checkpoints."""
        names = [await self._try(partition) for partition in sorted(self.changed)]
        return [name for name in names if name is not None]

    async def due(self, now: int, in_use: Container[int]) -> None:
        """Sweep and checkpoint; in_use: states that were open when this became due.

        This may start after the worker has closed, while another worker opens the states.
        """
        if self._swept_at is None or now - self._swept_at >= SWEEP_EVERY_MS:
            self._swept_at = now
            await asyncio.to_thread(self._partitions.remove_leftovers, in_use)
        for partition in sorted(self.changed):
            age = now - self._done_at.get(partition, now)
            if age >= self._settings.checkpoint_every_s * 1000:
                await self._try(partition)

    async def _try(self, partition: int) -> str | None:
        """Checkpoint a partition; None if it was revoked meanwhile, or if the store failed.

        After a failure the partition is due again, with a pause that grows with each failure.
        """
        try:
            name = await self._checkpoint(partition)
        except OSError as error:
            self._failed += 1
            pause_s = UPLOADS.pause_s(self._failed)
            every_ms = self._settings.checkpoint_every_s * 1000
            self._tally.checkpoint_failed()
            logger.error(
                "the checkpoint of partition %d failed, the next attempt is due in %g s: %s",
                partition, min(pause_s, every_ms / 1000), error,
            )  # fmt: skip
            if partition in self._partitions.states:
                self.changed.add(partition)
                due = self._ticks_ms() + min(1000 * pause_s, every_ms)
                self._done_at[partition] = int(due - every_ms)
            return None
        self._failed = 0
        return name

    async def _checkpoint(self, partition: int) -> str | None:
        """Checkpoint a partition; None if it was revoked meanwhile."""
        async with self._uploading:
            async with self._turn:
                if partition not in self._partitions.states:
                    return None
                await self._commit({partition})
                snapshot = await asyncio.to_thread(self._partitions.snapshot, partition)
                self._done_at[partition] = self._ticks_ms()
                self.changed.discard(partition)
                erased = self._partitions[partition].erased
                if self._partitions[partition].uncompacted:
                    self.changed.add(partition)
            name = await asyncio.to_thread(self._partitions.upload, snapshot)
            self._tally.checkpointed(partition, self._clock_ms())
            holds = await asyncio.to_thread(self._partitions.holds_erased, partition, erased)
            if holds and partition in self._partitions.states:
                self.changed.add(partition)
            return name

    def snapshots(self, partitions: Iterable[int]) -> list[Snapshot]:
        """Snapshots of partitions that are revoked, where they changed.

        What is missing the next owner reads again.
        """
        found = []
        for partition in sorted({*partitions} & self.changed):
            if self._partitions[partition].uncompacted:
                continue  # to rewrite the files takes too long here
            try:
                found.append(self._partitions.snapshot(partition))
            except (OSError, DamagedState) as error:
                logger.error("partition %d is revoked without a snapshot: %s", partition, error)
        return found

    def upload_left(self, snapshots: Sequence[Snapshot]) -> None:
        """Begin to upload snapshots of partitions that another worker has from now on."""
        if snapshots:
            upload = asyncio.ensure_future(self._upload_left(snapshots))
            self._leaving.add(upload)
            upload.add_done_callback(self._leaving.discard)

    async def left_uploaded(self) -> None:
        """Wait for the uploads that `upload_left` began."""
        await asyncio.gather(*self._leaving)

    async def _upload_left(self, snapshots: Sequence[Snapshot]) -> None:
        """Upload snapshots; each is tried once."""
        async with self._uploading:
            for snapshot in snapshots:
                try:
                    await asyncio.to_thread(self._partitions.upload_left, snapshot)
                except (OSError, DamagedState) as error:
                    self._tally.checkpoint_failed()
                    logger.error(
                        "partition %d was revoked and not uploaded; its next owner reads the rest "
                        "from the log: %s", snapshot.manifest.partition, error,
                    )  # fmt: skip
