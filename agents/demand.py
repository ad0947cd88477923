"""Counts of all partitions on a topic: writes those of the states, reads their sums.

Live popularity, and, where impressions are read, what was shown and taken.
"""

import logging
from collections.abc import Iterator, Sequence

from dynamic_layer import CorruptDemand, CountsOf, DemandRecord, LivePopularity, ShownCounts
from state import DemandBlock, PartitionState, StateSettings
from streams import LogRecord

__all__ = ["live_popularity", "news_of_demand", "shown_counts", "take_demand"]

logger = logging.getLogger(__name__)


def live_popularity(settings: StateSettings, hours: float | None = None) -> LivePopularity:
    """Return an empty sum for states with these settings.

    hours: how many of the latest are kept; None keeps the whole window.
    """
    buckets = settings.demand_buckets
    if hours is not None:
        buckets = min(buckets, max(1, round(hours * 3_600_000 / settings.demand_ms)))
    return LivePopularity(bucket_ms=settings.demand_ms, window_buckets=buckets)


def shown_counts(settings: StateSettings) -> ShownCounts | None:
    """Return empty sums of what was shown and taken; None where no impressions are read."""
    if not settings.impressions:
        return None
    window = settings.window
    return ShownCounts(bucket_ms=window.bucket_ms, window_buckets=window.buckets)


def news_of_demand(
    state: PartitionState, *, all_of_it: bool
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield records (key and value) of counts that this state has not published yet.

    They are written before the commit, so that counts committed as published are never missing on
    the topic. Repeats are harmless. A bucket that has left the window is withdrawn.

    all_of_it: the buckets of earlier days too.
    """
    settings = state.settings
    blocks = state.tell_demand(all_of_it=all_of_it)
    yield from _records(state, "demand", settings.demand_ms, blocks)
    shown, taken = state.taken.tell(all_of_it=all_of_it)
    yield from _records(state, "shown", settings.window.bucket_ms, shown)
    yield from _records(state, "taken", settings.window.bucket_ms, taken)


def _records(
    state: PartitionState, counts_of: CountsOf, bucket_ms: int, blocks: Sequence[DemandBlock]
) -> Iterator[tuple[bytes, bytes | None]]:
    records = sum(state.counts.values())
    for block in blocks:
        whole = DemandRecord(
            partition=state.partition,
            bucket=block.bucket,
            bucket_ms=bucket_ms,
            records=records,
            keys=block.keys,
            markets=block.markets,
            counts=block.counts,
            counts_of=counts_of,
        )
        for record in whole.split():
            yield record.key, record.pack() if block.live else None


def take_demand(
    live: LivePopularity, records: Sequence[LogRecord], shown: ShownCounts | None = None
) -> int:
    """Add records of the topic to sums; returns the number of records that changed one.

    shown: of what was shown and taken; None where that is not read.
    Records with another bucket length and damaged ones are skipped: they are of other states.
    """
    news = 0
    for record in records:
        if record.value is None:
            continue  # It has left the window, here too.
        try:
            found = DemandRecord.unpack(record.value)
        except CorruptDemand as error:
            logger.warning("a record of %s is skipped: %s", record.topic, error)
            continue
        sums = live if found.counts_of == "demand" else shown
        if sums is not None and found.bucket_ms == sums.bucket_ms:
            news += sums.put(found)
    return news
