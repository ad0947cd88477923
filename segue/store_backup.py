"""Copy what the artifact store holds to another one: `segue backup` and `segue restore`."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from state import ArtifactStore, Checkpoints, CorruptArtifact

__all__ = ["StoreNotEmpty", "copy_store"]

BUNDLES = ("static", "dynamic")
#: Figures by day, which the Quality page shows.
FIGURES = "quality"
#: Attempts for a checkpoint: running workers write new ones and remove old ones.
ATTEMPTS = 3

Progress = Callable[[str, int], None]
"""(what is copied, number of such copies so far)"""


class StoreNotEmpty(Exception):
    """The target holds artifacts already; the message names the folder."""


@dataclass(kw_only=True)
class Copied:
    """Names of what was copied. broken: incomplete artifacts, which are left out."""

    checkpoints: dict[int, str] = field(default_factory=dict)
    bundles: list[str] = field(default_factory=list)
    figures: int = 0
    bytes: int = 0
    broken: list[str] = field(default_factory=list)


def copy_store(
    source: ArtifactStore, target: ArtifactStore, scratch: Path, progress: Progress
) -> Copied:
    """Copy the newest complete checkpoint of each partition, all complete bundles, and the figures.

    Each file is compared with its size and SHA-256 when it is read. The roles may run meanwhile.
    scratch: an empty folder for one artifact at a time.
    Raises StoreNotEmpty; CorruptArtifact if no checkpoint of a partition is whole, or if the
    source holds nothing; OSError if a store fails.
    """
    for folder in ("checkpoints", *BUNDLES):
        if target.listing(folder):
            raise StoreNotEmpty(f"{target.url} holds {folder} already; choose an empty place")
    copied = Copied()
    for partition in Checkpoints(source).partitions():
        _copy_checkpoint(source, target, partition, scratch, copied)
        progress("checkpoints", len(copied.checkpoints))
    for kind in BUNDLES:
        for name in source.names(kind):
            _copy_bundle(source, target, kind, name, scratch, copied)
            progress("bundles", len(copied.bundles))
    for path in _files(source, FIGURES):
        target.put_bytes(source.read_bytes(path), path)
        copied.figures += 1
    if not copied.checkpoints and not copied.bundles:
        raise CorruptArtifact(f"{source.url} holds no checkpoint and no bundle")
    return copied


def _copy_checkpoint(
    source: ArtifactStore, target: ArtifactStore, partition: int, scratch: Path, copied: Copied
) -> None:
    checkpoints = Checkpoints(source)
    broken: dict[str, str] = {}
    for _ in range(ATTEMPTS):
        for name in reversed(checkpoints.names(partition)):
            if name in broken:
                continue
            folder = f"checkpoints/{partition:05d}"
            try:
                content = source.read_bytes(f"{folder}/{name}.json")
                manifest = checkpoints.fetch(partition, name, scratch)
            except (CorruptArtifact, FileNotFoundError) as error:
                broken[name] = str(error)  # or a worker has just removed it
                shutil.rmtree(scratch, ignore_errors=True)
                continue
            for file, digest in manifest.files.items():
                target.put_file(scratch / file, f"{folder}/files/{digest['sha256']}")
            target.put_bytes(content, f"{folder}/{name}.json")
            copied.checkpoints[partition] = name
            copied.bytes += manifest.bytes
            shutil.rmtree(scratch)
            return
    raise CorruptArtifact(
        f"no checkpoint of partition {partition} is whole: {'; '.join(broken.values())}"
    )


def _copy_bundle(
    source: ArtifactStore, target: ArtifactStore, kind: str, name: str, scratch: Path,
    copied: Copied,
) -> None:  # fmt: skip
    try:
        folder = source.fetch(kind, name, scratch)
    except CorruptArtifact as error:
        copied.broken.append(f"{kind}/{name}: {error}")
        return
    target.publish(kind, name, folder)
    copied.bundles.append(f"{kind}/{name}")
    copied.bytes += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(scratch)


def _files(store: ArtifactStore, folder: str) -> Iterator[str]:
    """Paths of all files below a folder."""
    for name in store.listing(folder):
        path = f"{folder}/{name}"
        if store.is_folder(path):
            yield from _files(store, path)
        else:
            yield path
