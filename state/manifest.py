"""What a checkpoint says of itself, and how far it is compared with another state."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from state.commit_record import MadeFrom, Missing

__all__ = ["CheckpointManifest", "is_ahead", "manifest_digest", "manifest_name", "sum_of_positions"]


class CheckpointManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint holds.

    positions:   topic -> next offset; records below are in the state.
    watermark:   greatest bucket seen.
    format:      format of the database.
    fingerprint: hash of the settings that decide what the state is; `settings` are their values.
    counts:      records of the events topics that were applied, and refused.
    files:       name in the database folder -> {"bytes", "sha256"}.
    created_at:  ms UTC.
    missing:     records that the state was made without.
    checked:     whether the files' own checksums were compared before the upload; versions that
                 did not compare them could upload a damaged file under a fresh sha256.
    made_from:   topic -> which topic of that name was read; empty in manifests of versions that did
                 not note it.
    digest:      sha256 of this manifest as JSON without the digest.
    """

    partition: int
    positions: dict[str, int]
    watermark: int
    format: int
    fingerprint: str
    files: dict[str, dict[str, Any]]
    created_at: int
    counts: dict[str, int] = {}
    missing: tuple[Missing, ...] = ()
    settings: dict[str, Any] = {}
    checked: bool = False
    made_from: dict[str, MadeFrom] = {}
    digest: str = ""

    @property
    def bytes(self) -> int:
        """Size of the state in bytes."""
        return sum(int(file["bytes"]) for file in self.files.values())


def is_ahead(positions: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """Whether positions are behind others on no topic, and ahead on at least one.

    A topic that is not named is at 0. Of two states neither need be ahead of the other.

    >>> is_ahead({"events": 5, "users": 2}, {"events": 5}), is_ahead({"events": 5}, {"events": 5})
    (True, False)
    >>> is_ahead({"events": 9, "users": 1}, {"events": 1, "users": 2})
    False
    """
    topics = positions.keys() | other.keys()
    pairs = [(positions.get(topic, 0), other.get(topic, 0)) for topic in topics]
    return all(mine >= theirs for mine, theirs in pairs) and any(m > t for m, t in pairs)


def manifest_digest(manifest: bytes) -> str:
    """Digest of a manifest's fields; those that a later version adds count too."""
    fields = msgspec.json.decode(manifest, type=dict[str, Any])
    fields.pop("digest", None)
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def manifest_name(manifest: CheckpointManifest, serial: int) -> str:
    """Name under which a manifest is stored; the greatest name is the furthest state."""
    total = sum(manifest.positions.values())
    return f"{total:020d}-{manifest.created_at:014d}-{serial:04d}-{manifest.digest[:8]}"


def sum_of_positions(name: str) -> int:
    """Sum of the positions of a checkpoint, from its name."""
    return int(name.partition("-")[0])
