"""The files of adjacency runs: written once, mapped into memory, removed when they are merged.

A run is a file of its own beside the database, `run-<number>.bin`, and not rows in it: RocksDB
would compact again and again what the merging of runs keeps in order already
(`docs/adr/0012-runs-are-files.md`). The commit record names the runs there are, and is written
after their files are on the disk, so that a process that dies leaves at most a file that no
record names; it is removed when the state is opened.

File   the blocks' values, one behind the other; block numbers u32 [n]; where each value begins and
       the last one ends u64 [n + 1]; the low half of each value's xxh3 u32 [n]; then magic, n, and
       the xxh3 of the three arrays. Little-endian.
"""

import itertools
import mmap
import os
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from state.database import DamagedState, mark_damaged
from state.deltas import U32
from state.kernel import I64

__all__ = ["RunFile", "RunFiles", "RunWriter"]

U8 = npt.NDArray[np.uint8]

MAGIC = b"segrun\0\1"
_FOOTER = struct.Struct("<8sQQ")


class RunWriter:
    """Writes one run: blocks in ascending order, a few or many at a time."""

    def __init__(self, path: Path) -> None:
        """Begin an empty file."""
        self._file = path.open("wb")
        self._blocks: list[npt.NDArray[np.int64]] = []
        self._begins: list[npt.NDArray[np.int64]] = []
        self._sums: list[int] = []
        self._bytes = 0

    def add(self, blocks: I64, data: U8, starts: I64) -> None:
        """Append values. blocks [n]: their numbers; value i is data[starts[i]:starts[i + 1]]."""
        view, edges = data.data, starts.tolist()
        self._sums += [
            xxh3_64_intdigest(view[begin:end]) & 0xFFFFFFFF
            for begin, end in itertools.pairwise(edges)
        ]
        self._blocks.append(blocks)
        self._begins.append(starts[:-1] + self._bytes)
        self._file.write(view)
        self._bytes += len(data)

    def finish(self) -> None:
        """Write the index and wait until all of it is on the disk."""
        none = np.zeros(0, np.int64)
        index = b"".join(
            (
                np.concatenate([none, *self._blocks]).astype("<u4").tobytes(),
                np.concatenate([none, *self._begins, [self._bytes]]).astype("<u8").tobytes(),
                np.array(self._sums, "<u4").tobytes(),
            )
        )
        self._file.write(index)
        self._file.write(_FOOTER.pack(MAGIC, len(self._sums), xxh3_64_intdigest(index)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


class RunFile:
    """A run's file, mapped.

    data: uint8, all of it; `span` says where its blocks lie. blocks: uint32 [n], their numbers.
    """

    def __init__(self, path: Path, *, mark: bool = False) -> None:
        """Map a file and check its index; raises DamagedState.

        mark: note damage in the folder, for the next process that opens the state.
        """
        self._path = path
        self._mark = mark
        try:
            with path.open("rb") as file:
                self.data: U8 = np.frombuffer(
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8
                )
        except (FileNotFoundError, ValueError) as error:
            raise self._damaged(f"{path} is missing or empty") from error
        if len(self.data) < _FOOTER.size:
            raise self._damaged(f"{path} is cut off")
        magic, n, checksum = _FOOTER.unpack(self.data[-_FOOTER.size :].tobytes())
        first = len(self.data) - _FOOTER.size - (16 * n + 8)
        if magic != MAGIC or first < 0:
            raise self._damaged(f"{path} does not end as a run's file does")
        index = self.data[first : -_FOOTER.size].tobytes()
        if xxh3_64_intdigest(index) != checksum:
            raise self._damaged(f"the index of {path} is damaged")
        self.blocks: U32 = np.frombuffer(index, "<u4", n).astype(np.uint32)
        self._begins: I64 = np.frombuffer(index, "<u8", n + 1, 4 * n).astype(np.int64)
        self._sums = np.frombuffer(index, "<u4", n, 12 * n + 8)

    def __len__(self) -> int:
        """Bytes of its blocks."""
        return int(self._begins[-1])

    def span(self, first: int, end: int) -> tuple[I64, I64]:
        """Blocks from `first` up to `end`: their numbers [n], and where in `data` they lie [n + 1].

        Raises DamagedState if one of them is not what was written.
        """
        low, high = np.searchsorted(self.blocks, np.array([first, end], np.uint32)).tolist()
        begins = self._begins[low : high + 1]
        edges, view = begins.tolist(), self.data.data
        for place, (begin, behind) in enumerate(itertools.pairwise(edges), low):
            if xxh3_64_intdigest(view[begin:behind]) & 0xFFFFFFFF != self._sums[place]:
                raise self._damaged(f"block {self.blocks[place]} of {self._path} is damaged")
        return self.blocks[low:high].astype(np.int64), begins

    def check(self) -> None:
        """Compare every block with its checksum; raises DamagedState."""
        if len(self.blocks):
            self.span(0, int(self.blocks[-1]) + 1)

    def _damaged(self, message: str) -> DamagedState:
        if self._mark:
            mark_damaged(self._path.parent, message)
        return DamagedState(message)


class RunFiles:
    """The run files of one state's folder."""

    def __init__(self, folder: Path, *, mark: bool = False) -> None:
        """Read and write in `folder`, where the database lies too; mark: as of `RunFile`."""
        self._folder = folder
        self._mark = mark
        self._open: dict[int, RunFile] = {}

    def __getitem__(self, number: int) -> RunFile:
        """The file of a run, mapped once. Raises DamagedState."""
        if number not in self._open:
            self._open[number] = RunFile(self._path(number), mark=self._mark)
        return self._open[number]

    def writer(self, number: int) -> RunWriter:
        """Begin the file of a run."""
        return RunWriter(self._path(number))

    def keep(self, numbers: Iterable[int]) -> None:
        """Remove the files of all other runs."""
        kept = {self._path(number).name for number in numbers}
        for path in self._folder.glob("run-*.bin"):
            if path.name not in kept:
                path.unlink()
        self._open = {n: file for n, file in self._open.items() if self._path(n).name in kept}

    def link(self, numbers: Iterable[int], into: Path) -> None:
        """Hard-link the files of runs into another folder; copies them where that is elsewhere."""
        for number in numbers:
            path = self._path(number)
            try:
                os.link(path, into / path.name)
            except OSError:
                shutil.copyfile(path, into / path.name)

    def _path(self, number: int) -> Path:
        return self._folder / f"run-{number:012d}.bin"
