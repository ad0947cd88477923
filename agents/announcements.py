"""What records of the models topic say: the newest bundle of each kind, and which one is pinned."""

from collections.abc import Sequence

from streams import LogRecord, ModelAnnouncement, decode

__all__ = ["newest_announcements"]


def newest_announcements(records: Sequence[LogRecord]) -> dict[str, ModelAnnouncement | None]:
    """Return the newest announcement of each kind that is named; None for a pin that was lifted.

    Other records that were deleted say nothing.
    """
    found: dict[str, ModelAnnouncement | None] = {}
    for record in records:
        if record.value is not None:
            announcement = decode(ModelAnnouncement, record.value)
            found[announcement.kind] = announcement
        elif record.key == b"pinned":
            found["pinned"] = None
    return found
