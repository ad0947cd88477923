"""Checkpoints: a RocksDB snapshot in the artifact store, of which only new files are uploaded.

Layout below `checkpoints/`, for partition 3:

    00003/files/<sha256>             content of a database file, shared by checkpoints
    00003/<positions>-<time>-<serial>-<digest>.json
                                     manifest: written last, names the files by their content

A manifest's name begins with the sum of its positions, zero-padded, so the greatest name is the
furthest state, and ends with the beginning of its own digest. Two workers that hold a partition for
a while write checkpoints of the same state function; the greater one wins.
"""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import Checkpoint as DatabaseCheckpoint

from state.artifacts import PART, ArtifactStore, CorruptArtifact, file_digest
from state.commit_record import FORMAT, Missing, check_meta
from state.partition import PartitionState
from state.run_files import DamagedState
from state.settings import StateSettings

__all__ = ["CheckpointManifest", "Checkpoints"]

logger = logging.getLogger(__name__)

#: An upload that has not ended after a day died with its worker (chosen: no upload takes a day).
ABANDONED_MS = 86_400_000
#: First format whose manifests have a digest.
DIGESTS_SINCE = 2


class CheckpointManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds.

    positions:   topic -> next offset; records below are in the state.
    watermark:   greatest bucket seen.
    format:      format of the database.
    fingerprint: hash of the settings that decide what the state is; `settings` are their values.
    counts:      records of the events topics that were applied, and refused.
    files:       name in the database folder -> {"bytes", "sha256"}.
    created_at:  ms UTC.
    missing:     records that the state was made without.
    digest:      sha256 of this manifest as JSON without the digest.
    """

    partition: int
    positions: dict[str, int]
    watermark: int
    format: int
    fingerprint: str
    files: dict[str, dict[str, Any]]
    created_at: int
    counts: dict[str, int] = {}
    missing: tuple[Missing, ...] = ()
    settings: dict[str, Any] = {}
    digest: str = ""

    @property
    def bytes(self) -> int:
        """Size of the state in bytes."""
        return sum(int(file["bytes"]) for file in self.files.values())


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """What a checkpoint cost: its name, and the bytes that were not in the store yet."""

    name: str
    manifest: CheckpointManifest
    new_bytes: int


class Checkpoints:
    """The checkpoints of all partitions in one artifact store.

    keep: checkpoints of a partition that stay; older ones are pruned after each upload.
    """

    def __init__(self, store: ArtifactStore, *, keep: int = 3) -> None:
        """Keep checkpoints in `store`."""
        self.store = store
        self.keep = keep

    def create(self, state: PartitionState, scratch: Path, now_ms: int) -> Uploaded:
        """Commit, snapshot and upload a partition's state; `scratch` is a folder for hard links.

        The snapshot is taken at once; the partition may go on while the files are uploaded only
        if `snapshot` and `upload` are called separately.
        """
        manifest = self.snapshot(state, scratch, now_ms)
        return self.upload(manifest, scratch)

    def snapshot(self, state: PartitionState, scratch: Path, now_ms: int) -> CheckpointManifest:
        """Commit and hard-link the database and the runs into `scratch` (replaced if it exists)."""
        state.commit()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        DatabaseCheckpoint(state.database).create_checkpoint(str(scratch))
        state.run_files.link((run.number for run in state.runs), scratch)
        return CheckpointManifest(
            partition=state.partition,
            positions=state.committed,
            watermark=state.watermark,
            format=FORMAT,
            fingerprint=state.settings.fingerprint(),
            files={},
            created_at=now_ms,
            counts=state.counts,
            missing=state.missing,
            settings=state.settings.meaning(),
        )

    def upload(self, manifest: CheckpointManifest, scratch: Path) -> Uploaded:
        """Upload a snapshot, new files only, then its manifest; prune; remove `scratch`.

        Another worker that still holds the partition may upload and prune at the same time.
        """
        folder = self._folder(manifest.partition)
        files = {
            str(path.relative_to(scratch)): file_digest(path)
            for path in sorted(scratch.rglob("*"))
            if path.is_file()
        }
        new_bytes = 0
        for name, digest in files.items():
            target = f"{folder}/files/{digest['sha256']}"
            if self._size(target) != digest["bytes"]:
                self.store.put_file(scratch / name, target)
                new_bytes += digest["bytes"]
        complete = msgspec.structs.replace(manifest, files=files)
        own = _digest(msgspec.json.encode(complete))
        complete = msgspec.structs.replace(complete, digest=own)
        serial = len(self.names(manifest.partition))
        name = (
            f"{sum(manifest.positions.values()):020d}-{manifest.created_at:014d}-{serial:04d}"
            f"-{own[:8]}"
        )
        self.store.put_bytes(msgspec.json.encode(complete), f"{folder}/{name}.json")
        # Until now nothing named the files, and another worker may have pruned them. From now on
        # it sees the manifest.
        for file, digest in files.items():
            target = f"{folder}/files/{digest['sha256']}"
            if self._size(target) is None:
                self.store.put_file(scratch / file, target)
        shutil.rmtree(scratch, ignore_errors=True)
        self._prune(manifest.partition, manifest.created_at)
        return Uploaded(name=name, manifest=complete, new_bytes=new_bytes)

    def positions(self, partition: int, topic: str) -> list[tuple[str, int]]:
        """Checkpoints of a partition and the position of a topic in each, the furthest last.

        One whose manifest cannot be read is at position 0: nobody knows better.
        """
        found = []
        for name in self.names(partition):
            try:
                found.append((name, self.manifest(partition, name).positions.get(topic, 0)))
            except CorruptArtifact as error:
                logger.error("checkpoint %s of partition %d: %s", name, partition, error)
                found.append((name, 0))
        return found

    def partitions(self) -> list[int]:
        """Partitions that have a checkpoint."""
        root = f"{self.store.root}/checkpoints"
        if not self.store.files.exists(root):
            return []
        numbers = (int(Path(p).name) for p in self.store.files.ls(root, detail=False))
        return sorted(n for n in numbers if self.names(n))

    def names(self, partition: int) -> list[str]:
        """Checkpoints of a partition, the furthest last."""
        root = f"{self.store.root}/{self._folder(partition)}"
        if not self.store.files.exists(root):
            return []
        paths = self.store.files.ls(root, detail=False, refresh=True)
        return sorted(Path(p).stem for p in paths if p.endswith(".json"))

    def manifest(self, partition: int, name: str) -> CheckpointManifest:
        """Manifest of a checkpoint; raises CorruptArtifact."""
        path = f"{self._folder(partition)}/{name}.json"
        try:
            content = self.store.read_bytes(path)
            manifest = msgspec.json.decode(content, type=CheckpointManifest)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptArtifact(f"{path} is not a checkpoint's manifest: {error}") from error
        # An older one is whole without a digest: its format is what keeps it from being used.
        undigested = not manifest.digest and manifest.format < DIGESTS_SINCE
        if manifest.digest != _digest(content) and not undigested:
            raise CorruptArtifact(f"{path} has changed since it was written")
        return manifest

    def restore(self, partition: int, into: Path, *, beyond: int = -1) -> CheckpointManifest | None:
        """Fetch the furthest checkpoint that is whole; None if there is none.

        A broken one is reported and the one before is tried. `into` must not exist.
        beyond: sum of the positions of a state at hand; checkpoints that are no further are left.
        """
        broken = 0
        for name in reversed(self.names(partition)):
            if _sum_of_positions(name) <= beyond:
                break
            try:
                manifest = self.fetch(partition, name, into)
            except CorruptArtifact as error:
                broken += 1
                logger.error(
                    "checkpoint %s of partition %d is broken, trying the one before: %s",
                    name, partition, error,
                )  # fmt: skip
                shutil.rmtree(into, ignore_errors=True)
                # It must not take the place of a whole one among those that are kept.
                self._put_aside(f"{self._folder(partition)}/{name}.json")
                continue
            if broken:
                logger.error("partition %d: restored the older checkpoint %s", partition, name)
            return manifest
        if broken:
            logger.error(
                "partition %d: none of %d checkpoints is whole; what they held is read again from "
                "the local state's position, or from the beginning of the log", partition, broken,
            )  # fmt: skip
        return None

    def fetch(self, partition: int, name: str, into: Path) -> CheckpointManifest:
        """Fetch one checkpoint, every file verified; raises CorruptArtifact."""
        manifest = self.manifest(partition, name)
        for file, digest in manifest.files.items():
            target = (into / file).resolve()
            if not target.is_relative_to(into.resolve()):
                raise CorruptArtifact(f"checkpoint {name} names {file!r} outside of its folder")
            path = f"{self._folder(partition)}/files/{digest['sha256']}"
            try:
                self.store.get_file(path, target, digest)
            except CorruptArtifact:
                # Who has the file whole would take it for uploaded, and every further checkpoint
                # that names it would be broken too.
                self._put_aside(path)
                raise
        return manifest

    def open_or_restore(
        self, folder: Path, partition: int, settings: StateSettings
    ) -> PartitionState:
        """Open the local state of a partition; on an empty disk restore it from the store first.

        If the store holds a further state than the disk (another worker had the partition in the
        meantime), that one is taken. Raises WrongState if the state was made with other settings,
        and leaves the local state as it is.
        """
        local = self._local(folder, partition, settings)
        incoming, discarded = (folder.with_name(f"{folder.name}.{n}") for n in ("in", "out"))
        for left in (incoming, discarded):
            shutil.rmtree(left, ignore_errors=True)
        try:
            at = sum(local.committed.values()) if local else -1
            manifest = self.restore(partition, incoming, beyond=at)
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
        return PartitionState(folder, partition, settings)

    @staticmethod
    def _local(folder: Path, partition: int, settings: StateSettings) -> PartitionState | None:
        """The state on this disk; None if there is none, or if it is damaged: it is put aside."""
        if not folder.exists():
            return None
        try:
            return PartitionState(folder, partition, settings)
        except DamagedState as error:
            aside = folder.with_name(f"{folder.name}.damaged")
            logger.error(
                "partition %d: the local state is damaged: %s; it is put aside as %s, and restored "
                "from the artifact store or the log", partition, error, aside.name,
            )  # fmt: skip
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            return None

    def _size(self, path: str) -> int | None:
        """Bytes of a stored file; None if it is not there."""
        try:
            size: int = self.store.files.size(f"{self.store.root}/{path}")
        except FileNotFoundError:
            return None
        return size

    def _prune(self, partition: int, now_ms: int) -> None:
        """Remove manifests beyond `keep`, files that no manifest names, and unfinished uploads.

        Another worker may do the same: what is gone already is no mistake.
        """
        names = self.names(partition)
        folder = f"{self.store.root}/{self._folder(partition)}"
        for name in names[: -self.keep]:
            self._remove(f"{folder}/{name}.json")
        named = set(self._named_files(partition, names[-self.keep :]))
        for path in self.store.files.ls(f"{folder}/files", detail=False, refresh=True):
            if Path(path).name not in named and not path.endswith(PART):
                self._remove(path)
        for place in (folder, f"{folder}/files"):
            for path in self.store.files.ls(place, detail=False, refresh=True):
                if path.endswith(PART) and self._age_ms(path, now_ms) > ABANDONED_MS:
                    self._remove(path)

    def _age_ms(self, path: str, now_ms: int) -> float:
        try:
            return now_ms - 1000 * float(self.store.files.modified(path).timestamp())
        except FileNotFoundError:
            return 0.0

    def _put_aside(self, path: str) -> None:
        """Give a broken file a name under which nobody looks for it but people."""
        with contextlib.suppress(FileNotFoundError):
            self.store.move(path, f"{path}.broken")

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.store.files.rm_file(path)

    def _named_files(self, partition: int, names: list[str]) -> Iterator[str]:
        for name in names:
            try:
                for digest in self.manifest(partition, name).files.values():
                    yield digest["sha256"]
            except CorruptArtifact as error:
                logger.error("checkpoint %s of partition %d: %s", name, partition, error)

    @staticmethod
    def _folder(partition: int) -> str:
        return f"checkpoints/{partition:05d}"


def _sum_of_positions(name: str) -> int:
    """Sum of the positions of a checkpoint, from its name."""
    return int(name.partition("-")[0])


def _digest(manifest: bytes) -> str:
    """Digest of a manifest's fields; those that a later version adds count too."""
    fields = msgspec.json.decode(manifest, type=dict[str, Any])
    fields.pop("digest", None)
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()
