"""Decodes records of the models topic: newest bundles and pins of channels, canary shares.

The key identifies a record. Unknown keys are ignored, so that later versions can add some.
"""

from collections.abc import Iterable, Sequence

from streams import (
    DEFAULT_CHANNEL,
    ArmShare,
    LeavingBundles,
    LogRecord,
    ModelAnnouncement,
    announcement_key,
    readable,
)

__all__ = [
    "announced_names",
    "announcement_of",
    "leaving_bundles",
    "newest_announcements",
    "newest_shares",
]

_KINDS = ("static", "dynamic", "pinned")
_SHARE = "share/"
_LEAVING = "leaving"


def announcement_of(record: LogRecord) -> ModelAnnouncement | None:
    """Return what a record announces to some channel; None for all other records.

    An unreadable record announces nothing; it must not stop the workers.
    """
    kind, _, _ = (record.key or b"").decode(errors="replace").partition("/")
    if kind not in _KINDS:
        return None
    return next((said for _, said in readable(ModelAnnouncement, [record])), None)


def newest_announcements(
    records: Sequence[LogRecord], channel: str = DEFAULT_CHANNEL
) -> dict[str, ModelAnnouncement | None]:
    """Return the newest announcement to a channel of each kind that is named.

    None for a removed pin; other deleted records are ignored. Static bundles belong to all
    channels.
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
    """Return the names of dynamic bundles to serve, by key; None for removed pins."""
    found: dict[bytes, str | None] = {}
    for record in records:
        said = announcement_of(record)
        if said is not None and said.kind != "static":
            found[said.key] = said.name
        elif record.value is None and record.key is not None:
            found[record.key] = None
    return found


def leaving_bundles(records: Iterable[LogRecord]) -> set[str]:
    """Return names of the bundles that trainers are pruning; see LeavingBundles."""
    found: dict[bytes, list[str]] = {}
    for record in records:
        key = record.key or b""
        if key.decode(errors="replace").partition("/")[0] == _LEAVING:
            said = next((said for _, said in readable(LeavingBundles, [record])), None)
            found[key] = said.names if said else []
    return {name for names in found.values() for name in names}


def newest_shares(records: Iterable[LogRecord], salt: str) -> dict[str, ArmShare | None]:
    """Return the newest share by arm of an experiment; None where it is gone or of another salt."""
    found: dict[str, ArmShare | None] = {}
    for record in records:
        key = (record.key or b"").decode(errors="replace")
        if not key.startswith(_SHARE):
            continue
        said = next((said for _, said in readable(ArmShare, [record])), None)
        found[key.removeprefix(_SHARE)] = said if said is not None and said.salt == salt else None
    return found
