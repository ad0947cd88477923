"""The artifact store: folders of files under a URL, complete or absent, verified when read.

A folder becomes visible with its `manifest.json`, which is written last and names every other
file with its size and sha256. Readers never see a half-written artifact.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec

__all__ = ["ArtifactStore", "CorruptArtifact", "file_digest"]

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
    """Artifacts by kind and name, in a directory or an object store (any fsspec URL)."""

    def __init__(self, url: str) -> None:
        """Open the store at `url`; a plain path is a directory and is made when needed."""
        self.url = url
        self.files, self.root = fsspec.core.url_to_fs(url)

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
        root = f"{self.root}/{kind}"
        if not self.files.exists(root):
            return []
        folders = (entry["name"] for entry in self.files.ls(root, detail=True, refresh=True))
        return sorted(
            Path(folder).name for folder in folders if self.files.exists(f"{folder}/{MANIFEST}")
        )

    def manifest(self, kind: str, name: str) -> dict[str, Any]:
        """Manifest of an artifact; raises CorruptArtifact if it is missing or not JSON."""
        try:
            manifest = json.loads(self.read_bytes(f"{kind}/{name}/{MANIFEST}"))
        except (FileNotFoundError, ValueError) as error:
            raise CorruptArtifact(f"{kind}/{name} has no readable manifest: {error}") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise CorruptArtifact(f"{kind}/{name}: the manifest names no files")
        return manifest

    def fetch(self, kind: str, name: str, into: Path) -> Path:
        """Download an artifact into a folder and verify it; raises CorruptArtifact.

        Returns `into`. The folder is removed again if a file is not what the manifest says.
        """
        manifest = self.manifest(kind, name)
        into.mkdir(parents=True, exist_ok=True)
        try:
            for file, expected in manifest["files"].items():
                self.get_file(f"{kind}/{name}/{file}", _inside(into, file), expected)
        except CorruptArtifact:
            shutil.rmtree(into, ignore_errors=True)
            raise
        (into / MANIFEST).write_text(json.dumps(manifest, indent=1))
        return into

    def delete(self, kind: str, name: str) -> None:
        """Remove an artifact, its manifest first; nothing happens if it is not there."""
        folder = f"{self.root}/{kind}/{name}"
        if self.files.exists(f"{folder}/{MANIFEST}"):
            self.files.rm_file(f"{folder}/{MANIFEST}")
        if self.files.exists(folder):
            self.files.rm(folder, recursive=True)

    def put_file(self, source: Path, path: str) -> None:
        """Upload one file; a reader never sees a part of it under its final name."""
        target = f"{self.root}/{path}"
        self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
        part = _part(target)
        self.files.put_file(str(source), part)
        self.files.mv(part, target)

    def put_bytes(self, content: bytes, path: str) -> None:
        """Write a small file, whole or not at all."""
        target = f"{self.root}/{path}"
        self.files.makedirs(target.rpartition("/")[0], exist_ok=True)
        part = _part(target)
        self.files.pipe_file(part, content)
        self.files.mv(part, target)

    def move(self, path: str, target: str) -> None:
        """Give a file another name; raises FileNotFoundError."""
        self.files.mv(f"{self.root}/{path}", f"{self.root}/{target}")

    def read_bytes(self, path: str) -> bytes:
        """Content of a small file; raises FileNotFoundError."""
        content: bytes = self.files.cat_file(f"{self.root}/{path}")
        return content

    def get_file(self, path: str, target: Path, expected: Mapping[str, Any]) -> None:
        """Download one file and compare it with its size and sha256; raises CorruptArtifact."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.files.get_file(f"{self.root}/{path}", str(target))
        except FileNotFoundError as error:
            raise CorruptArtifact(f"{path} is missing from the artifact store") from error
        found = file_digest(target)
        if found != {"bytes": expected["bytes"], "sha256": expected["sha256"]}:
            raise CorruptArtifact(
                f"{path} should have {expected['bytes']} bytes with sha256 {expected['sha256']}, "
                f"but has {found['bytes']} with {found['sha256']}"
            )


def _part(target: str) -> str:
    """Where a file is written before it gets its name; two writers never share it."""
    return f"{target}.{uuid.uuid4().hex}{PART}"


def _inside(folder: Path, name: str) -> Path:
    """Path of a manifest's file, never outside of the folder."""
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise CorruptArtifact(f"a manifest names {name!r}, which lies outside of its folder")
    return target
