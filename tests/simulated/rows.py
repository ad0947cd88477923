"""What a process has to serve of a bundle where it has read the topics of rows and items to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agents.bundles.launched import encoded
from agents.bundles.models import Models
from agents.bundles.rows import channel_of_rows
from dynamic_layer import BundleRows, Recommender, RowDelta, UserState, default_lists
from state import item_key
from streams import EmbeddedLog
from tests.simulated.worlds import PARTITIONS, TOPICS, Texts

if TYPE_CHECKING:
    from tests.simulated.night import Night


@dataclass
class ReadTo:
    """Next offsets of the topics that each process reads whole; of the catalogue by partition."""

    catalogue: dict[int, int]
    policies: int
    rows: int

    @classmethod
    def ends_of(cls, log: EmbeddedLog) -> Self:
        """Return the ends of the topics."""
        catalogue = {part: log.end_offset(TOPICS.catalogue, part) for part in range(PARTITIONS)}
        return cls(catalogue, log.end_offset(TOPICS.policies, 0), log.end_offset(TOPICS.rows, 0))

    def reaches(self, other: "ReadTo", topic: str) -> bool:
        """Return whether as much of a topic is read as another has."""
        if topic == "policies":
            return self.policies >= other.policies
        return all(self.catalogue.get(part, 0) >= at for part, at in other.catalogue.items())

    def or_later(self, other: "ReadTo") -> "ReadTo":
        """Return the greater of both of each topic."""
        parts = self.catalogue.keys() | other.catalogue.keys()
        one, two = self.catalogue, other.catalogue
        return ReadTo(
            {part: max(one.get(part, 0), two.get(part, 0)) for part in parts},
            max(self.policies, other.policies),
            max(self.rows, other.rows),
        )


def rows_of(night: "Night", channel: str, made: tuple[int, int], read_to: int) -> BundleRows | None:
    """Return the rows that deltas of a bundle come to; None without any.

    A cumulative delta begins them; each other one counts if it follows the last that counted.
    """
    rows: dict[int, np.ndarray] | None = None  # type: ignore[type-arg]
    sequence = 0
    for record in night.log.read(TOPICS.rows, 0, 0, 100_000):
        if record.offset >= read_to or record.value is None or channel_of_rows(record) != channel:
            continue
        delta = RowDelta.unpack(record.value)
        if delta.made != made or delta.sequence <= sequence:
            continue
        if delta.follows and (rows is None or delta.follows != sequence):
            continue
        served = np.concatenate([delta.vectors, delta.bias[:, None]], axis=1)
        new = dict(zip(delta.keys.tolist(), served, strict=True))
        rows = new if not delta.follows else {**(rows or {}), **new}
        sequence = delta.sequence
    if not rows:
        return None
    keys = np.array(sorted(rows), np.uint64)
    return BundleRows(
        sequence=sequence, keys=keys, served=np.array([rows[key] for key in keys.tolist()])
    )


def check_rows(night: "Night", models: Models, read_to: int, who: str) -> None:
    """Note rows that are not those of the topic up to where a process has read it.

    Of a bundle that is older than the two newest of which rows have come, they may be gone.
    """
    if models.recommender is None:
        return
    made = models.recommender.bundle.made
    if made not in newest_of(night, models.channel, read_to):
        return
    expected = None if models.pinned else rows_of(night, models.channel, made, read_to)
    checksum = expected.checksum(made) if expected is not None else 0
    if models.rows_checksum != checksum:
        night.complain(
            f"{who} serves rows {models.rows_checksum:08x} of bundle {models.serving}, where"
            f" {checksum:08x} have been sent"
        )


def check_lists(night: "Night", models: Models, read: "ReadTo", who: str) -> None:
    """Note lists that are not those of bundle, rows, catalogue and policies alone, read once.

    For a user with three items.
    """
    served = models.recommender
    if served is None:
        return
    bundle = served.bundle
    sent = rows_of(night, models.channel, bundle.made, read.rows)
    if served.served_rows.changed and bundle.made not in newest_of(
        night, models.channel, read.rows
    ):
        return
    entries = night.catalogue.entries(read.catalogue)
    fresh = Recommender(
        bundle, models._live, shown=models._shown, use_head=models._use_head,
        in_force=night.policies.compiled(read.policies, entries),
    )  # fmt: skip
    launched = {item_key(*name): item for name, item in entries.items() if item is not None}

    async def add() -> None:
        async for part in encoded(launched, Texts()):
            fresh.add_items(part)

    night.learning.loop.whole(add())
    gone = [item_key(*name) for name, item in entries.items() if item is None]
    fresh.remove_items(np.array(gone, np.uint64))
    fresh.serve_rows(None if models.pinned else sent)
    keys = bundle.item_keys[:3]
    user = UserState(
        user_id="", history_item=keys, history_time=np.full(3, night.now),
        history_strong=np.ones(3, np.bool_),
    )  # fmt: skip
    found, expected = (_lists(one, user, night.now) for one in (served, fresh))
    for name, those in expected.items():
        if found[name].keys() != those.keys() or any(
            abs(found[name][item] - score) > 1e-3 for item, score in those.items()
        ):
            night.complain(
                f"{who} makes the list {name} {found[name]} by {models.serving}, not {those}"
            )


def _lists(made_by: Recommender, user: UserState, now_ms: int) -> dict[str, Any]:
    """Return by list the scores of its items."""
    [lists] = made_by.recommend([user], default_lists(made_by.bundle.types), now_ms)
    return {
        name: dict(
            zip(
                zip(ranking.item_types, ranking.item_ids, strict=True),
                np.asarray(ranking.scores).tolist(),
                strict=True,
            )
        )
        for name, ranking in lists.items()
    }


def newest_of(night: "Night", channel: str, read_to: int) -> list[tuple[int, int]]:
    """Return which bundles, two at most, are the newest with rows."""
    found = {
        RowDelta.unpack(record.value).made
        for record in night.log.read(TOPICS.rows, 0, 0, 100_000)
        if record.offset < read_to and record.value and channel_of_rows(record) == channel
    }
    return sorted(found)[-2:]
