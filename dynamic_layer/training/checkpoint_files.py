"""Checkpoints on a disk: files named by their content, and manifests that name the files.

files/<sha256>.safetensors   arrays; shared by the checkpoints that hold the same
<serial>.json                manifest, written last; the greatest serial is the newest
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dynamic_layer.errors import CorruptCheckpoint

_PART = ".part"
_FORMAT = 1

logger = logging.getLogger(__name__)


class CheckpointFiles:
    """Writes and reads checkpoints of one writer.

    Guarantees: a checkpoint is there as a whole or not at all, since its manifest gets its name
    when it and all files that it names are written; every byte is verified when it is read.
    Nothing is forced onto the disk: a killed process loses nothing that was committed, a machine
    without power may, and what it leaves torn is found by its digest.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Make the folder if needed; keep: checkpoints that stay when another is committed."""
        self._folder, self._files = folder, folder / "files"
        self._keep = keep
        self._files.mkdir(parents=True, exist_ok=True)
        for left in [*folder.glob(f"*{_PART}"), *self._files.glob(f"*{_PART}")]:
            left.unlink()

    def put(self, arrays: Mapping[str, NDArray[Any]]) -> str:
        """Write arrays to a file; return its name, by which a manifest has to name it."""
        content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
        name = hashlib.sha256(content).hexdigest()
        self._write(self._path(name), content)
        return name

    def get(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a file. Raises CorruptCheckpoint if it is not as it was written."""
        try:
            content = self._path(name).read_bytes()
        except OSError as error:
            raise CorruptCheckpoint(f"expected the file {name}: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != name:
            raise CorruptCheckpoint(f"expected a file with sha256 {name}, got {found}")
        try:
            return load(content)
        except SafetensorError as error:
            raise CorruptCheckpoint(f"expected arrays in {name}: {error}") from error

    def commit(self, manifest: Mapping[str, Any], files: set[str]) -> None:
        """Make a checkpoint of files that were put; remove those that no checkpoint needs.

        manifest: what JSON can hold; files: names of all files that belong to the checkpoint.
        """
        serial = max((int(path.stem) for path in self._manifests()), default=0) + 1
        body = {**manifest, "format": _FORMAT, "serial": serial, "files": sorted(files)}
        text = json.dumps({**body, "digest": _digest(body)}, sort_keys=True)
        self._write(self._folder / f"{serial:012d}.json", text.encode())
        self._prune()

    def checkpoints(self) -> Iterator[dict[str, Any]]:
        """Yield the manifests, newest first; broken ones are passed over with a line in the log."""
        for path in self._manifests():
            try:
                yield _read(path)
            except CorruptCheckpoint as error:
                logger.error("checkpoint %s is passed over: %s", path.stem, error)

    def _manifests(self) -> list[Path]:
        """Return the manifests' paths, newest first."""
        return sorted(
            (path for path in self._folder.glob("*.json") if path.stem.isdigit()), reverse=True
        )

    def _path(self, name: str) -> Path:
        return self._files / f"{name}.safetensors"

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_name(path.name + _PART)
        part.write_bytes(content)
        part.replace(path)

    def _prune(self) -> None:
        for old in self._manifests()[self._keep :]:
            old.unlink()
        needed = {name for manifest in self.checkpoints() for name in manifest["files"]}
        for path in self._files.iterdir():
            if path.stem not in needed:
                path.unlink()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(f"expected a manifest: {error}") from error
    if not isinstance(body, dict):
        raise CorruptCheckpoint(f"expected a manifest, got {type(body).__name__}")
    digest = body.pop("digest", None)
    if digest != _digest(body):
        raise CorruptCheckpoint(f"expected a manifest with sha256 {digest}, got {_digest(body)}")
    if body["format"] != _FORMAT:
        raise CorruptCheckpoint(f"expected format {_FORMAT}, got {body['format']}")
    return body
