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
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from state.artifacts import PART, ArtifactStore, CorruptArtifact, file_digest
from state.checked_files import KnownFiles, check_files
from state.commit_record import FORMAT
from state.database import DamagedState, mark_damaged
from state.manifest import (
    CheckpointManifest,
    is_ahead,
    manifest_digest,
    manifest_name,
    sum_of_positions,
)
from state.partition import PartitionState

__all__ = ["CheckpointManifest", "Checkpoints"]

logger = logging.getLogger(__name__)

#: An upload that has not ended after a day died with its worker (chosen: no upload takes a day).
ABANDONED_MS = 86_400_000
#: Ending of manifests of checkpoints that were made from other topics.
OTHER_LOG = ".other-log"
#: First format whose manifests have a digest.
DIGESTS_SINCE = 2


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
        return self.upload(manifest, scratch, state.folder)

    def snapshot(self, state: PartitionState, scratch: Path, now_ms: int) -> CheckpointManifest:
        """Commit and hard-link the database and the runs into `scratch` (replaced if it exists)."""
        state.commit()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        state.database.link_into(scratch)
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
            made_from=state.topics_read,
        )

    def upload(self, manifest: CheckpointManifest, scratch: Path, state: Path) -> Uploaded:
        """Upload a snapshot, new files only, then its manifest; prune; remove `scratch`.

        The checksums in new files are compared first. A file that an earlier checkpoint of this
        state had is not read again, unless it is gone from the store.
        Another worker that still holds the partition may upload and prune at the same time.

        state: the folder of which `scratch` is a snapshot. Raises DamagedState, and marks that
        folder, if a file is not as it was written; OSError if the store fails. `scratch` is
        removed in any case.
        """
        try:
            return self._upload(manifest, scratch, KnownFiles(state))
        except DamagedState as error:
            mark_damaged(state, str(error))
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _upload(self, manifest: CheckpointManifest, scratch: Path, known: KnownFiles) -> Uploaded:
        names = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*") if p.is_file())
        files = {name: known.digest(scratch / name) for name in names}
        new = [name for name, digest in files.items() if digest is None]
        digests = {name: digest or file_digest(scratch / name) for name, digest in files.items()}
        # After the digests were made: what is uploaded under them was checked.
        check_files(scratch, new)
        new_bytes = sum(self._put_missing(manifest, scratch, digests, known=set(names) - {*new}))
        complete = msgspec.structs.replace(manifest, files=digests, checked=True)
        own = manifest_digest(msgspec.json.encode(complete))
        complete = msgspec.structs.replace(complete, digest=own)
        name = manifest_name(complete, len(self.names(manifest.partition)))
        folder = self._folder(manifest.partition)
        self.store.put_bytes(msgspec.json.encode(complete), f"{folder}/{name}.json")
        # Until now no manifest named the files, and another worker may have pruned them. From now
        # on it sees the manifest.
        for _ in self._put_missing(manifest, scratch, digests, known=set(names)):
            pass
        known.keep((scratch / name, digest) for name, digest in digests.items())
        self._prune(manifest.partition, manifest.created_at)
        return Uploaded(name=name, manifest=complete, new_bytes=new_bytes)

    def _put_missing(
        self,
        manifest: CheckpointManifest,
        scratch: Path,
        digests: Mapping[str, Mapping[str, Any]],
        known: Collection[str],
    ) -> Iterator[int]:
        """Upload the files that are not in the store; yields the bytes of each.

        known: files whose digests were not made just now: these are made again first, since the
        store would take whatever is in the file for what the digest names.
        """
        for name, digest in digests.items():
            target = f"{self._folder(manifest.partition)}/files/{digest['sha256']}"
            if self.store.size(target) == digest["bytes"]:
                continue
            if name in known and file_digest(scratch / name) != digest:
                raise DamagedState(f"{name} has changed since it was written")
            self.store.put_file(scratch / name, target)
            yield int(digest["bytes"])

    def positions(self, partition: int, topic: str) -> list[tuple[str, int]]:
        """Checkpoints of a partition and the position of a topic in each, the furthest last.

        One whose manifest cannot be read is at position 0: nothing better is known.
        """
        found = []
        for name in self.names(partition):
            try:
                found.append((name, self.manifest(partition, name).positions.get(topic, 0)))
            except CorruptArtifact as error:
                if name not in self.names(partition):
                    continue  # another worker's newer checkpoint took its place meanwhile
                logger.error("checkpoint %s of partition %d: %s", name, partition, error)
                found.append((name, 0))
        return found

    def has_further(self, manifest: CheckpointManifest) -> bool:
        """Whether a checkpoint of the same partition is further, by the sum of its positions."""
        names = self.names(manifest.partition)
        return bool(names) and sum_of_positions(names[-1]) > sum(manifest.positions.values())

    def of_other_log(self, partition: int) -> CheckpointManifest | None:
        """Return the furthest of a partition's checkpoints that were put aside.

        None if there are none, or if one was written since. Raises CorruptArtifact.
        """
        names = self.store.listing(self._folder(partition))
        aside = sorted(Path(name).name for name in names if name.endswith(OTHER_LOG))
        return self._manifest(f"{self._folder(partition)}/{aside[-1]}") if aside else None

    def partitions(self) -> list[int]:
        """Partitions that have a checkpoint."""
        numbers = (int(name) for name in self.store.listing("checkpoints"))
        return sorted(n for n in numbers if self.names(n))

    def names(self, partition: int) -> list[str]:
        """Checkpoints of a partition, the furthest last."""
        files = self.store.listing(self._folder(partition))
        return sorted(Path(file).stem for file in files if file.endswith(".json"))

    def manifest(self, partition: int, name: str) -> CheckpointManifest:
        """Manifest of a checkpoint; raises CorruptArtifact."""
        return self._manifest(f"{self._folder(partition)}/{name}.json")

    def _manifest(self, path: str) -> CheckpointManifest:
        try:
            content = self.store.read_bytes(path)
            manifest = msgspec.json.decode(content, type=CheckpointManifest)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptArtifact(f"{path} is not a checkpoint's manifest: {error}") from error
        # An older one is whole without a digest: its format is what keeps it from being used.
        undigested = not manifest.digest and manifest.format < DIGESTS_SINCE
        if manifest.digest != manifest_digest(content) and not undigested:
            raise CorruptArtifact(f"{path} has changed since it was written")
        return manifest

    def put_aside(self, partition: int) -> None:
        """Exclude the checkpoints of a partition from restores: the state is built again.

        Their files stay until the next checkpoint of the partition.
        """
        for name in self.names(partition):
            with contextlib.suppress(FileNotFoundError):
                path = f"{self._folder(partition)}/{name}.json"
                self.store.move(path, f"{path}{OTHER_LOG}")

    def restore(
        self, partition: int, into: Path, *, beyond: Mapping[str, int] | None = None
    ) -> CheckpointManifest | None:
        """Fetch the furthest checkpoint that is whole; None if there is none.

        A broken one is reported and the one before is tried. `into` must not exist.
        beyond: positions of a state at hand; only a checkpoint that is ahead of them on a topic
        and behind on none is fetched.
        """
        broken = 0
        for name in self._furthest_first(partition):
            try:
                if beyond is not None and not self._is_ahead(partition, name, beyond):
                    continue
                manifest = self.fetch(partition, name, into)
                self._check_fetched(manifest, into)
            except (CorruptArtifact, DamagedState) as error:
                shutil.rmtree(into, ignore_errors=True)
                if name not in self.names(partition):
                    logger.info("checkpoint %s of partition %d was replaced", name, partition)
                    continue
                broken += 1
                logger.error(
                    "checkpoint %s of partition %d is broken, trying the one before: %s",
                    name, partition, error,
                )  # fmt: skip
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

    def _furthest_first(self, partition: int) -> Iterator[str]:
        """Yield each checkpoint once, the furthest first.

        The store is listed before each of them: another worker may add a checkpoint meanwhile, and
        remove those that were listed before.
        """
        seen: set[str] = set()
        while names := [name for name in self.names(partition) if name not in seen]:
            seen.add(names[-1])
            yield names[-1]

    def _is_ahead(self, partition: int, name: str, positions: Mapping[str, int]) -> bool:
        # The sum is in the name: most checkpoints need not be read.
        if sum_of_positions(name) <= sum(positions.values()):
            return False
        return is_ahead(self.manifest(partition, name).positions, positions)

    @staticmethod
    def _check_fetched(manifest: CheckpointManifest, folder: Path) -> None:
        """Raise DamagedState if a fetched database was damaged before it was uploaded."""
        if manifest.format != FORMAT:
            return  # refused later, with a message about the format
        check_files(folder, () if manifest.checked else manifest.files)

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

    def replace(self, state: PartitionState, scratch: Path, now_ms: int) -> Uploaded:
        """Make a state the only checkpoint of its partition, in place of all others."""
        self.put_aside(state.partition)
        return self.create(state, scratch, now_ms)

    def _prune(self, partition: int, now_ms: int) -> None:
        """Remove manifests beyond `keep`, files that no manifest names, and unfinished uploads.

        Manifests of another log are removed too, since their files are.

        Another worker may do the same: what is gone already is no mistake.
        """
        names = self.names(partition)
        folder = self._folder(partition)
        for name in names[: -self.keep]:
            self.store.remove(f"{folder}/{name}.json")
        named = set(self._named_files(partition, names[-self.keep :]))
        for name in self.store.listing(f"{folder}/files"):
            if name not in named and not name.endswith(PART):
                self.store.remove(f"{folder}/files/{name}")
        for name in self.store.listing(folder):
            if name.endswith(OTHER_LOG):
                self.store.remove(f"{folder}/{name}")
        for place in (folder, f"{folder}/files"):
            for name in self.store.listing(place):
                if name.endswith(PART) and self._is_abandoned(f"{place}/{name}", now_ms):
                    self.store.remove(f"{place}/{name}")

    def _is_abandoned(self, path: str, now_ms: int) -> bool:
        written = self.store.modified_ms(path)
        return written is not None and now_ms - written > ABANDONED_MS

    def _put_aside(self, path: str) -> None:
        """Give a broken file a name that only people look for; a store may be read-only here."""
        try:
            self.store.move(path, f"{path}.broken")
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("%s stays under its name, although it is broken: %s", path, error)

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
