"""One file of a partition of the embedded log: framed records, one after another.

A frame is little-endian: length u32 and CRC-32 u32 of what follows; offset i64, timestamp i64
(ms UTC), length of the key i32, length of the value i32 (-1: absent); key; value.
"""

import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

_FRAME = struct.Struct("<IIqqii")
_BODY = struct.Struct("<qqii")
_CHECKED_FROM = 8  # length and CRC stand before what they describe
_ABSENT = -1
# A lookup reads at most this many bytes of frames in vain before the one it looks for.
_INDEX_STEP = 16 * 1024
# A reader that wants few records does not pay for many: it begins with little.
_FIRST_BYTES, _READ_BYTES = 16 * 1024, 1024 * 1024


# Offset, timestamp, key, value, and the position after the frame. A plain tuple: a named one
# costs a fifth of the reading speed.
Frame = tuple[int, int, bytes | None, bytes | None, int]


def pack_frame(offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> bytes:
    """Return the bytes of a frame."""
    body = _BODY.pack(
        offset,
        timestamp,
        _ABSENT if key is None else len(key),
        _ABSENT if value is None else len(value),
    )
    body = b"".join((body, key or b"", value or b""))
    return struct.pack("<II", len(body), zlib.crc32(body)) + body


class Segment:
    """A segment file: knows where its good frames end and finds frames by offset.

    path: its name is the base offset in 20 digits, the first offset that may lie in it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, creating it when missing. Call scan before find or size."""
        self.path = path
        self.base = int(path.stem)
        self.size = 0
        self.next_offset = self.base
        self.last_timestamp = 0
        self.scanned = False
        self._index_offsets: list[int] = []
        self._index_positions: list[int] = []
        self._resume = (-1, 0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def scan(self) -> int:
        """Check all frames, build the index, and return how many bytes at the end are no frames."""
        for offset, timestamp, _, _, end in self.frames(0, os.fstat(self._file).st_size):
            self._note(offset, self.size)
            self.size, self.next_offset, self.last_timestamp = end, offset + 1, timestamp
        self.scanned = True
        return os.fstat(self._file).st_size - self.size

    def cut(self) -> bytes:
        """Remove the bytes after the last good frame from the file, and return them."""
        torn = os.pread(self._file, os.fstat(self._file).st_size - self.size, self.size)
        os.ftruncate(self._file, self.size)
        return torn

    def write(self, frames: list[bytes], next_offset: int, timestamp: int) -> None:
        """Add frames; all of them or none are in the segment afterwards. Raises OSError."""
        data = b"".join(frames)
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.size + written)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        position, offset = self.size, self.next_offset
        for frame in frames:
            self._note(offset, position)
            position += len(frame)
            offset += 1
        self.size, self.next_offset, self.last_timestamp = position, next_offset, timestamp

    def find(self, offset: int) -> int:
        """Return the position of a frame at or before the first one with this offset or more."""
        if offset >= self.next_offset:
            return self.size
        if offset == self._resume[0]:
            return self._resume[1]
        place = bisect_right(self._index_offsets, offset) - 1
        return self._index_positions[place] if place >= 0 else 0

    def resume_at(self, offset: int, position: int) -> None:
        """Remember where a reader stopped: the next one to begin there need not search."""
        self._resume = (offset, position)

    def frames(self, position: int, end: int) -> Iterator[Frame]:
        """Yield frames from a position on; stops at `end`, or at the first that is not good."""
        data, origin, ahead = b"", position, _FIRST_BYTES
        view = memoryview(data)
        unpack, crc32, header_bytes = _FRAME.unpack_from, zlib.crc32, _FRAME.size
        while position < end:
            start = position - origin
            needed = header_bytes
            if start + header_bytes <= len(data):
                length, crc, offset, timestamp, key_bytes, value_bytes = unpack(data, start)
                needed = _CHECKED_FROM + length
                stop = start + needed
                if stop <= len(data):
                    if crc32(view[start + _CHECKED_FROM : stop]) != crc:
                        return
                    middle = start + header_bytes + max(key_bytes, 0)
                    # Zeros have the CRC of nothing: only the lengths tell that they are no frame.
                    if middle + max(value_bytes, 0) != stop:
                        return
                    key = None if key_bytes == _ABSENT else data[start + header_bytes : middle]
                    value = None if value_bytes == _ABSENT else data[middle:stop]
                    position = origin + stop
                    yield offset, timestamp, key, value, position
                    continue
            if position + needed > end:
                return
            data = os.pread(self._file, min(max(needed, ahead), end - position), position)
            ahead = _READ_BYTES
            view = memoryview(data)
            origin = position
            if len(data) < needed:
                return

    def sync(self) -> None:
        """Have the operating system write everything to the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _note(self, offset: int, position: int) -> None:
        if not self._index_positions or position - self._index_positions[-1] >= _INDEX_STEP:
            self._index_offsets.append(offset)
            self._index_positions.append(position)
