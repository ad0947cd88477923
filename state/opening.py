"""Opening the state of a partition: the local one, or what is ahead of it in the artifact store."""

import logging
import os
import shutil
from pathlib import Path

from state.artifacts import CorruptArtifact
from state.checked_files import KnownFiles
from state.checkpoint import Checkpoints
from state.commit_record import FORMAT, WrongState, check_meta
from state.database import DamagedState
from state.manifest import CheckpointManifest
from state.partition import PartitionState
from state.settings import StateSettings

__all__ = ["DAMAGED", "OTHER_SETTINGS", "open_or_restore"]

logger = logging.getLogger(__name__)

#: Endings of local states that were put aside.
DAMAGED, OTHER_SETTINGS = ".damaged", ".other-settings"


def open_or_restore(
    checkpoints: Checkpoints, folder: Path, partition: int, settings: StateSettings
) -> PartitionState:
    """Open the local state of a partition; on an empty disk restore it from the store first.

    If the store holds a state that is ahead of the disk's (another worker had the partition in
    the meantime), that one is taken. A checkpoint that is ahead on one topic and behind on
    another is not: the records that it has more are read again from the log
    (docs/adr/0033-positions-topic-by-topic.md). The local state is opened if the store fails.
    A local state of other settings is put aside if the newest checkpoint is of these settings:
    then the partition was moved to them (`segue state move`).

    Raises WrongState if the state was made with other settings, and leaves the local state as
    it is; OSError if there is no local state and the store fails.
    """
    try:
        local = _local(folder, partition, settings)
    except WrongState as error:
        if not _is_moved(checkpoints, partition, settings):
            raise
        aside = _set_aside(folder, OTHER_SETTINGS)
        logger.warning("the state is put aside as %s: %s", aside.name, error)
        local = None
    incoming, discarded = (folder.with_name(f"{folder.name}.{n}") for n in ("in", "out"))
    for left in (incoming, discarded):
        shutil.rmtree(left, ignore_errors=True)
    try:
        manifest = _further(checkpoints, partition, incoming, local)
        if manifest:
            whose = f"the checkpoint of partition {partition}"
            check_meta(manifest, partition, settings, whose)
    except BaseException:
        shutil.rmtree(incoming, ignore_errors=True)
        if local:
            local.close()
        raise
    if manifest is None:
        return local or PartitionState(folder, partition, settings)
    if local:
        local.close()
        # Renamed, not removed: a process that dies here leaves a whole state or none.
        folder.rename(discarded)
    incoming.rename(folder)
    shutil.rmtree(discarded, ignore_errors=True)
    # What was fetched was compared with its digests: it need not be hashed again.
    KnownFiles(folder).keep((folder / name, file) for name, file in manifest.files.items())
    return PartitionState(folder, partition, settings)


def _further(
    checkpoints: Checkpoints, partition: int, into: Path, local: PartitionState | None
) -> CheckpointManifest | None:
    """Fetch a checkpoint that is ahead of a local state; None if the local state is to be used.

    A local state is whole without the store, and only less far at worst. Without one, raises
    OSError if the store fails: an empty state in its place would lose what checkpoints hold.
    """
    try:
        return checkpoints.restore(partition, into, beyond=local.committed if local else None)
    except OSError as error:
        if local is None:
            raise
        shutil.rmtree(into, ignore_errors=True)
        logger.warning(
            "partition %d: the local state is used without a look at the checkpoints: %s",
            partition, error,
        )  # fmt: skip
        return None


def _local(folder: Path, partition: int, settings: StateSettings) -> PartitionState | None:
    """The state on this disk; None if there is none, or if it is damaged: it is put aside."""
    if not folder.exists():
        return None
    try:
        return PartitionState(folder, partition, settings)
    except DamagedState as error:
        aside = _set_aside(folder, DAMAGED)
        logger.error(
            "partition %d: the local state is damaged: %s; it is put aside as %s, and restored "
            "from the artifact store or the log", partition, error, aside.name,
        )  # fmt: skip
        return None


def _is_moved(checkpoints: Checkpoints, partition: int, settings: StateSettings) -> bool:
    """Whether the furthest checkpoint was made with these settings by this version."""
    try:
        if names := checkpoints.names(partition):
            found = checkpoints.manifest(partition, names[-1])
            return found.format == FORMAT and found.fingerprint == settings.fingerprint()
    except (CorruptArtifact, OSError) as error:
        logger.error("partition %d: the checkpoints cannot be read: %s", partition, error)
    return False


def _set_aside(folder: Path, ending: str) -> Path:
    """Rename a state's folder; the one that was put aside before is removed."""
    aside = folder.with_name(f"{folder.name}{ending}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    os.utime(aside)  # it is removed a week after this
    return aside
