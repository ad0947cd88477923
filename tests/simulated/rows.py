"""Changed rows: what a process that has read so much of their topic has to serve of a bundle."""

from typing import TYPE_CHECKING

import numpy as np

from agents.bundles.models import Models
from agents.bundles.rows import channel_of_rows
from dynamic_layer import BundleRows, Recommender, RowDelta, UserState, default_lists
from tests.simulated.worlds import TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night

Rows = dict[int, bytes]


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


def check_lists(night: "Night", models: Models, read_to: int, who: str) -> None:
    """Note lists that are not those of the bundle and rows alone, whatever was served before.

    Only where there is a head or a row that has changed. For a user with three items.
    """
    served = models.recommender
    if served is None or not (served.has_head or served.served_rows.changed):
        return
    bundle = served.bundle
    sent = rows_of(night, models.channel, bundle.made, read_to)
    if served.served_rows.changed and bundle.made not in newest_of(night, models.channel, read_to):
        return
    fresh = Recommender(bundle)
    fresh.serve_rows(None if models.pinned else sent)
    keys = bundle.item_keys[:3]
    user = UserState(
        user_id="", history_item=keys, history_time=np.full(3, night.now),
        history_strong=np.ones(3, np.bool_),
    )  # fmt: skip
    found, expected = (
        [
            (list(ranking.rows), np.asarray(ranking.scores).round(4).tolist())
            for ranking in one.recommend([user], default_lists(bundle.types), night.now)[0].values()
        ]
        for one in (served, fresh)
    )
    if found != expected:
        night.complain(f"{who} makes the lists {found} by {models.serving}, not {expected}")


def newest_of(night: "Night", channel: str, read_to: int) -> list[tuple[int, int]]:
    """Return which bundles, two at most, are the newest with rows."""
    found = {
        RowDelta.unpack(record.value).made
        for record in night.log.read(TOPICS.rows, 0, 0, 100_000)
        if record.offset < read_to and record.value and channel_of_rows(record) == channel
    }
    return sorted(found)[-2:]
