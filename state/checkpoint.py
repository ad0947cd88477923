"""Checkpoints: a RocksDB snapshot in the artifact store, of which only new files are uploaded.

Layout below `checkpoints/`, for partition 3:

    00003/files/<sha256>             content of a database file, shared by checkpoints
    00003/<positions>-<serial>.json  manifest: written last, names the files by their content

A manifest's name begins with the sum of its positions, zero-padded, so the greatest name is the
furthest state. Two workers that hold a partition for a while write checkpoints of the same state
function; the greater one wins.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rocksdict import Checkpoint as DatabaseCheckpoint

from state.artifacts import ArtifactStore, CorruptArtifact, file_digest
from state.partition import FORMAT, Missing, PartitionState, WrongState, check_meta
from state.settings import StateSettings

__all__ = ["CheckpointManifest", "Checkpoints"]

logger = logging.getLogger(__name__)

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
        """Commit and hard-link the database into `scratch` (replaced if it exists)."""
        state.commit()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        DatabaseCheckpoint(state.database).create_checkpoint(str(scratch))
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
        """Upload a snapshot, new files only, then its manifest; prune; remove `scratch`."""
        folder = self._folder(manifest.partition)
        files = {
            str(path.relative_to(scratch)): file_digest(path)
            for path in sorted(scratch.rglob("*"))
            if path.is_file()
        }
        new_bytes = 0
        for name, digest in files.items():
            target = f"{folder}/files/{digest['sha256']}"
            if not self.store.files.exists(f"{self.store.root}/{target}"):
                self.store.put_file(scratch / name, target)
                new_bytes += digest["bytes"]
        complete = msgspec.structs.replace(manifest, files=files)
        own = _digest(msgspec.json.encode(complete))
        complete = msgspec.structs.replace(complete, digest=own)
        serial = len(self.names(manifest.partition))
        name = f"{sum(manifest.positions.values()):020d}-{manifest.created_at:014d}-{serial:04d}"
        self.store.put_bytes(msgspec.json.encode(complete), f"{folder}/{name}.json")
        shutil.rmtree(scratch, ignore_errors=True)
        self._prune(manifest.partition)
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
        beyond: leave out checkpoints whose positions sum up to this or less.
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
            self.store.get_file(
                f"{self._folder(partition)}/files/{digest['sha256']}", target, digest
            )
        return manifest

    def open_or_restore(
        self, folder: Path, partition: int, settings: StateSettings
    ) -> PartitionState:
        """Open the local state of a partition; on an empty disk restore it from the store first.

        If the store holds a further state than the disk (another worker had the partition in the
        meantime), that one is taken. Raises WrongState if the state was made with other settings,
        and leaves the local state as it is.
        """
        local = PartitionState(folder, partition, settings) if folder.exists() else None
        incoming = folder.with_name(f"{folder.name}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        at = sum(local.committed.values()) if local else -1
        manifest = self.restore(partition, incoming, beyond=at)
        if manifest is None:
            return local or PartitionState(folder, partition, settings)
        if local:
            local.close()
        try:
            check_meta(manifest, partition, settings, f"the checkpoint of partition {partition}")
        except WrongState:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        incoming.rename(folder)
        return PartitionState(folder, partition, settings)

    def _prune(self, partition: int) -> None:
        """Remove manifests beyond `keep`, then files that no manifest names."""
        names = self.names(partition)
        folder = f"{self.store.root}/{self._folder(partition)}"
        for name in names[: -self.keep]:
            self.store.files.rm_file(f"{folder}/{name}.json")
        named = set(self._named_files(partition, names[-self.keep :]))
        for path in self.store.files.ls(f"{folder}/files", detail=False, refresh=True):
            if Path(path).name not in named and not path.endswith(".part"):
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
