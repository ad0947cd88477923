"""What records of the models topic say: each channel's newest bundles and pins, canaries' shares.

A record is known by its key. Keys that this version does not know say nothing, so that a later one
may add some.
"""

from collections.abc import Iterable, Sequence

from streams import (
    DEFAULT_CHANNEL,
    ArmShare,
    LogRecord,
    ModelAnnouncement,
    announcement_key,
    decode,
)

__all__ = ["announced_names", "announcement_of", "newest_announcements", "newest_shares"]

_KINDS = ("static", "dynamic", "pinned")
_SHARE = "share/"


def announcement_of(record: LogRecord) -> ModelAnnouncement | None:
    """Return what a record announces to some channel; None for other and for deleted ones."""
    kind, _, _ = (record.key or b"").decode().partition("/")
    if record.value is None or kind not in _KINDS:
        return None
    return decode(ModelAnnouncement, record.value)


def newest_announcements(
    records: Sequence[LogRecord], channel: str = DEFAULT_CHANNEL
) -> dict[str, ModelAnnouncement | None]:
    """Return the newest announcement to a channel of each kind that is named.

    None for a pin that was lifted; other records that were deleted say nothing. Static bundles are
    of all channels.
    """
    pinned = announcement_key("pinned", channel)
    found: dict[str, ModelAnnouncement | None] = {}
    for record in records:
        said = announcement_of(record)
        if said is not None and (said.kind == "static" or said.channel == channel):
            found[said.kind] = said
        elif record.value is None and record.key == pinned:
            found["pinned"] = None
    return found


def announced_names(records: Iterable[LogRecord]) -> dict[bytes, str | None]:
    """Return by key the names of dynamic bundles that records want served; None for lifted pins."""
    found: dict[bytes, str | None] = {}
    for record in records:
        said = announcement_of(record)
        if said is not None and said.kind != "static":
            found[said.key] = said.name
        elif record.value is None and record.key is not None:
            found[record.key] = None
    return found


def newest_shares(records: Iterable[LogRecord], salt: str) -> dict[str, ArmShare | None]:
    """Return the newest share by arm of an experiment; None where it is gone or of another salt."""
    found: dict[str, ArmShare | None] = {}
    for record in records:
        key = (record.key or b"").decode()
        if not key.startswith(_SHARE):
            continue
        said = None if record.value is None else decode(ArmShare, record.value)
        found[key.removeprefix(_SHARE)] = said if said is not None and said.salt == salt else None
    return found
