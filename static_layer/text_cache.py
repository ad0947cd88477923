"""Text vectors that were computed before, kept on disk."""

import fcntl
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

_ASKED_AT_ONCE = 500  # SQLite's oldest limit on parameters of a statement is 999


class VectorCache:
    """Vectors by 16-byte key in one SQLite file; many processes may share it.

    Responsibilities: find known vectors, add new ones, never change one (a key is the hash of
    everything that determines its vector). Vectors are stored as float16, 2 bytes a number:
    the error is below 0.0005 of a unit vector's length, far below what encoders differ by.
    """

    def __init__(self, path: Path) -> None:
        """Open the cache, creating the file and its folder where they are missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # SQLite refuses at once, whatever its timeout, when two turn on the log of a new file.
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)"
                " WITHOUT ROWID"
            )

    def find(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors that are known among `keys`, each f32[d]."""
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._lock:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                asked = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(asked))
                rows = self._database.execute(
                    f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608
                    asked,
                )
                for key, blob in rows:
                    found[key] = np.frombuffer(blob, dtype=np.float16).astype(np.float32)
        return found

    def add(self, vectors: Mapping[bytes, NDArray[np.floating]]) -> None:
        """Store vectors f32[d] by key, in one transaction; a key that is there stays as it is."""
        rows = [(key, vector.astype(np.float16).tobytes()) for key, vector in vectors.items()]
        with self._lock, self._database:
            self._database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def __len__(self) -> int:
        """Return the number of vectors in the cache."""
        with self._lock:
            return int(self._database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Close the file; the cache cannot be used afterwards."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Self:
        """Return the cache itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the cache."""
        self.close()
