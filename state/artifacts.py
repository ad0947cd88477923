"""The artifact store: folders of files under a URL, complete or absent, verified when read.

A folder becomes visible with its `manifest.json`, which is written last and names every other
file with its size and sha256. Readers never see a half-written artifact.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from state.retrying import Patience, StoreUnavailable, retried

__all__ = ["ArtifactStore", "CorruptArtifact", "file_digest"]

T = TypeVar("T")

MANIFEST = "manifest.json"
#: How the names of files end that are still being written.
PART = ".part"


class CorruptArtifact(Exception):
    """A file of an artifact is missing, or its bytes are not those the manifest names."""


def file_digest(path: Path) -> dict[str, Any]:
    """Size in bytes and sha256 of a file."""
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


class ArtifactStore:
    """Artifacts by kind and name, in a directory or an object store (any fsspec URL).

    Every operation is tried again, with pauses, if the store fails; then it raises
    StoreUnavailable, which is an OSError. That something is not in the store is no failure.

    failed: is told the operation (list, read, write or remove) of each failed attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Open the store at `url`; a plain path is a directory and is made when needed."""
        self.url = url
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:  # no package for it; no such kind of store
            raise StoreUnavailable(f"artifact store {url}: {error}") from error
        self.failed: Callable[[str], None] = lambda _operation: None
        self._patience = patience or Patience()
        self._sleep = sleep
        # Whether this object has found anything in the store.
        self._seen = False

    def publish(self, kind: str, name: str, folder: Path) -> None:
        """Upload a folder; it is visible once its manifest lies there.

        The folder's own `manifest.json` (if any) is kept and extended by `files`.
        """
        source = folder / MANIFEST
        manifest: dict[str, Any] = json.loads(source.read_text()) if source.exists() else {}
        names = sorted(
            str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p != source
        )
        manifest["files"] = {n: file_digest(folder / n) for n in names}
        for n in names:
            self.put_file(folder / n, f"{kind}/{name}/{n}")
        self.put_bytes(json.dumps(manifest, indent=1).encode(), f"{kind}/{name}/{MANIFEST}")

    def names(self, kind: str) -> list[str]:
        """Names of the complete artifacts of a kind, ascending."""
        return [name for name in self.listing(kind) if self._complete(kind, name)]

    def _complete(self, kind: str, name: str) -> bool:
        return self.size(f"{kind}/{name}/{MANIFEST}") is not None

    def manifest(self, kind: str, name: str) -> dict[str, Any]:
        """Manifest of an artifact; raises CorruptArtifact if it is missing or not JSON."""
        try:
            manifest = json.loads(self.read_bytes(f"{kind}/{name}/{MANIFEST}"))
        except (FileNotFoundError, ValueError) as error:
            raise CorruptArtifact(f"{kind}/{name} has no readable manifest: {error}") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise CorruptArtifact(f"{kind}/{name}: the manifest names no files")
        return manifest

    def fetch(
        self,
        kind: str,
        name: str,
        into: Path,
        left_out: Callable[[Mapping[str, Any]], Collection[str]] = lambda _manifest: (),
    ) -> Path:
        """Download an artifact into a folder and verify it; raises CorruptArtifact.

        Returns `into`. The folder is removed again if a file is not what the manifest says.
        left_out: returns the files of a manifest that are not needed.
        """
        manifest = self.manifest(kind, name)
        into.mkdir(parents=True, exist_ok=True)
        try:
            needed = manifest["files"].keys() - left_out(manifest)
            for file, expected in manifest["files"].items():
                if file in needed:
                    self.get_file(f"{kind}/{name}/{file}", _inside(into, file), expected)
        except CorruptArtifact:
            shutil.rmtree(into, ignore_errors=True)
            raise
        (into / MANIFEST).write_text(json.dumps(manifest, indent=1))
        return into

    def delete(self, kind: str, name: str) -> None:
        """Remove an artifact, its manifest first; nothing happens if it is not there."""
        folder = f"{kind}/{name}"
        self.remove(f"{folder}/{MANIFEST}")
        self._unless_missing(
            "remove", folder, lambda path: self.files.rm(path, recursive=True), None
        )

    def listing(self, folder: str) -> list[str]:
        """Names of what lies in a folder, ascending; empty if there is no such folder."""
        found: list[str] = self._unless_missing(
            "list", folder, lambda path: self.files.ls(path, detail=False, refresh=True), []
        )
        return sorted(Path(path).name for path in found)

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        return self._unless_missing("list", path, lambda full: bool(self.files.isdir(full)), False)

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        return self._unless_missing("list", path, lambda full: int(self.files.size(full)), None)

    def modified_ms(self, path: str) -> float | None:
        """When a file was written, ms UTC; None if it is not there."""
        return self._unless_missing(
            "list", path, lambda full: 1000 * float(self.files.modified(full).timestamp()), None
        )

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens if it is not there."""
        self._unless_missing("remove", path, self.files.rm_file, None)

    def put_file(self, source: Path, path: str) -> None:
        """Upload one file; a reader never sees a part of it under its final name."""
        self._put(path, lambda part: self.files.put_file(str(source), part))

    def put_bytes(self, content: bytes, path: str) -> None:
        """Write a small file, whole or not at all."""
        self._put(path, lambda part: self.files.pipe_file(part, content))

    def move(self, path: str, target: str) -> None:
        """Give a file another name; raises FileNotFoundError."""
        self._tried("write", path, lambda full: self.files.mv(full, f"{self.root}/{target}"))

    def read_bytes(self, path: str) -> bytes:
        """Content of a small file; raises FileNotFoundError."""
        content: bytes = self._tried("read", path, self.files.cat_file)
        return content

    def get_file(self, path: str, target: Path, expected: Mapping[str, Any]) -> None:
        """Download one file and compare it with its size and sha256; raises CorruptArtifact."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._tried("read", path, lambda full: self.files.get_file(full, str(target)))
        except FileNotFoundError as error:
            raise CorruptArtifact(f"{path} is missing from the artifact store") from error
        found = file_digest(target)
        if found != {"bytes": expected["bytes"], "sha256": expected["sha256"]}:
            raise CorruptArtifact(
                f"{path} should have {expected['bytes']} bytes with sha256 {expected['sha256']}, "
                f"but has {found['bytes']} with {found['sha256']}"
            )

    def require_writable(self) -> None:
        """Write and remove a small file, once; raises what the store raises."""
        self.files.makedirs(self.root, exist_ok=True)
        probe = _part(f"{self.root}/probe")
        self.files.pipe_file(probe, b"")
        self.files.rm_file(probe)

    def _put(self, path: str, write: Callable[[str], object]) -> None:
        target = f"{self.root}/{path}"

        def put(_: str) -> None:
            self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
            part = _part(target)
            write(part)
            self.files.mv(part, target)

        self._tried("write", path, put, answers=())
        self._seen = True

    def _unless_missing(self, operation: str, path: str, work: Callable[[str], T], missing: T) -> T:
        try:
            return self._tried(operation, path, work)
        except FileNotFoundError:
            return missing

    def _tried(
        self,
        operation: str,
        path: str,
        work: Callable[[str], T],
        answers: tuple[type[Exception], ...] = (FileNotFoundError,),
    ) -> T:
        def once() -> T:
            try:
                found = work(f"{self.root}/{path}")
            except FileNotFoundError as error:
                if self._seen and not self._root_exists():
                    # A volume that is not mounted any more looks like an empty store.
                    raise StoreUnavailable(f"{self.root} is gone") from error
                raise
            self._seen = True
            return found

        return retried(
            once, self._patience, what=f"artifact store {self.url}: {operation} {path}",
            failed=lambda: self.failed(operation), answers=answers, sleep=self._sleep,
        )  # fmt: skip

    def _root_exists(self) -> bool:
        """Whether the store's folder is there; an object store has none."""
        return "file" not in self.files.protocol or Path(self.root).exists()


def _part(target: str) -> str:
    """Where a file is written before it gets its name; two writers never share it."""
    return f"{target}.{uuid.uuid4().hex}{PART}"


def _inside(folder: Path, name: str) -> Path:
    """Path of a manifest's file, never outside of the folder."""
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise CorruptArtifact(f"a manifest names {name!r}, which lies outside of its folder")
    return target
