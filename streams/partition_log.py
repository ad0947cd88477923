"""One partition of the embedded log: its segments, its end, its compaction."""

import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

from streams.log_record import Record
from streams.segment import Frame, Segment, pack_frame

logger = logging.getLogger(__name__)

KeyValue = tuple[bytes | None, bytes | None]


class CorruptLogError(RuntimeError):
    """A segment is damaged where no crash could have damaged it. The message names the file."""


class PartitionLog:
    """Records with rising offsets in a folder of segments.

    Guarantees: offsets rise and are never used twice; timestamps never go back; what append
    returned is read again after the process dies. Not safe for several threads or processes.
    """

    def __init__(
        self, topic: str, partition: int, folder: Path, *, segment_bytes: int, compacted: bool
    ) -> None:
        """Open the segments and cut a torn tail, which is kept beside its segment as .torn."""
        self._topic = topic
        self._partition = partition
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._compacted = compacted
        self._segments: list[Segment] = []
        folder.mkdir(exist_ok=True)
        for unfinished in folder.glob("*.new"):
            unfinished.unlink()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def first_offset(self) -> int:
        """The first offset that may be here; what lay before went with a segment's file."""
        return self._segments[0].base

    @property
    def end_offset(self) -> int:
        """The offset that the next record will have."""
        return self._segments[-1].next_offset

    def append(self, records: Iterable[KeyValue], now_ms: int) -> int:
        """Add records and return the first one's offset. Raises OSError; then none was added."""
        segment = self._segments[-1]
        timestamp = max(now_ms, segment.last_timestamp)
        if segment.size >= self._segment_bytes:
            segment.sync()
            segment = Segment(_segment_path(self._folder, segment.next_offset))
            segment.scanned = True
            self._segments.append(segment)
        first = segment.next_offset
        frames = [
            pack_frame(offset, timestamp, key, value)
            for offset, (key, value) in enumerate(records, first)
        ]
        segment.write(frames, first + len(frames), timestamp)
        return first

    def read(self, offset: int, max_records: int, max_bytes: int) -> list[Record]:
        """Return records from an offset on, as many as there are and as the limits allow.

        The first one is returned even if it alone is longer than max_bytes. Compaction leaves
        gaps: the first record's offset may be greater than the one asked for.
        """
        found: list[Record] = []
        topic, partition, end = self._topic, self._partition, 0
        for at, timestamp, key, value, position in self._frames_from(offset):
            max_bytes -= len(value or b"")
            if len(found) >= max_records or (found and max_bytes < 0):
                break
            found.append(Record(topic, partition, at, timestamp, key, value))
            end = position
        if found:
            last = found[-1].offset
            self._segments[self._segment_of(last)].resume_at(last + 1, end)
        return found

    def compact(self, tombstones_before_ms: int) -> None:
        """Keep of each key the last record only, and of deletions those not older than the limit.

        The very last record always stays, for it holds the end offset. Atomic: a crash leaves the
        segments as they were before or as they are afterwards.
        """
        last_of_key = {key: offset for offset, _, key, _, _ in self._frames_from(0)}
        last_offset = self.end_offset - 1

        def stays(frame: Frame) -> bool:
            offset, timestamp, key, value, _ = frame
            expired = value is None and timestamp < tombstones_before_ms
            return offset == last_offset or (last_of_key[key] == offset and not expired)

        if all(stays(frame) for frame in self._frames_from(0)):
            return
        target = self._segments[0].path
        aside = target.with_suffix(".new")
        with aside.open("wb") as file:
            for frame in self._frames_from(0):
                if stays(frame):
                    file.write(pack_frame(*frame[:4]))
            file.flush()
            os.fsync(file.fileno())
        self.close()
        aside.replace(target)
        self._open()

    def sync(self) -> None:
        """Have the operating system write the newest segment to the disk; older ones are."""
        self._segments[-1].sync()

    def close(self) -> None:
        """Close all files. May be called again."""
        while self._segments:
            self._segments.pop().close()

    def _open(self) -> None:
        paths = sorted(self._folder.glob("*.log")) or [_segment_path(self._folder, 0)]
        self._segments = [Segment(path) for path in paths]
        if self._compacted:
            self._remove_superseded()
        self._cut_torn_tail()

    def _remove_superseded(self) -> None:
        """Remove the segments whose records a compaction has moved into the first one."""
        first, *others = self._segments
        if others:
            self._scan(first)
        for segment in others:
            if segment.base < first.next_offset:
                self._segments.remove(segment)
                segment.close()
                segment.path.unlink()

    def _cut_torn_tail(self) -> None:
        last = self._segments[-1]
        torn_bytes = last.scan()
        if torn_bytes:
            torn = last.path.with_suffix(".torn")
            torn.write_bytes(last.cut())
            logger.warning(
                "%s: cut %d bytes that are no whole record, kept in %s",
                last.path,
                torn_bytes,
                torn.name,
            )
        if last.size == 0 and len(self._segments) > 1:
            self._scan(self._segments[-2])
            last.last_timestamp = self._segments[-2].last_timestamp

    def _scan(self, segment: Segment) -> None:
        """Build the index of a segment that is not the last, where nothing can be torn."""
        if not segment.scanned and segment.scan():
            raise CorruptLogError(
                f"{segment.path}: no whole record at byte {segment.size}; restore the file from a "
                f"copy, or remove it to lose its records"
            )

    def _segment_of(self, offset: int) -> int:
        """Return the place of the segment in which an offset may lie."""
        return max(bisect_right(self._segments, offset, key=attrgetter("base")) - 1, 0)

    def _frames_from(self, offset: int) -> Iterator[Frame]:
        """Yield the frames with this offset or a greater one."""
        for segment in self._segments[self._segment_of(offset) :]:
            self._scan(segment)
            position = segment.find(offset)
            for frame in segment.frames(position, segment.size):
                position = frame[4]
                if frame[0] >= offset:
                    yield frame
            if position != segment.size:
                raise CorruptLogError(
                    f"{segment.path}: the record at byte {position} has changed since it was "
                    f"written; restore the file from a copy"
                )


def _segment_path(folder: Path, base: int) -> Path:
    return folder / f"{base:020d}.log"
