"""Live popularity on its topic: writes the states' counts, reads the sum of all partitions."""

import logging
from collections.abc import Iterator, Sequence

from dynamic_layer import CorruptDemand, DemandRecord, LivePopularity
from state import PartitionState, StateSettings
from streams import LogRecord

__all__ = ["live_popularity", "news_of_demand", "take_demand"]

logger = logging.getLogger(__name__)


def live_popularity(settings: StateSettings, hours: float | None = None) -> LivePopularity:
    """Return an empty sum for states with these settings.

    hours: how many of the latest are kept; None keeps the whole window.
    """
    buckets = settings.demand_buckets
    if hours is not None:
        buckets = min(buckets, max(1, round(hours * 3_600_000 / settings.demand_ms)))
    return LivePopularity(bucket_ms=settings.demand_ms, window_buckets=buckets)


def news_of_demand(
    state: PartitionState, *, all_of_it: bool
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield records (key and value) of counts that this state has not published yet.

    They are written before the commit, so that counts committed as published are never missing on
    the topic. Repeats are harmless. A bucket that has left the window is withdrawn.

    all_of_it: the buckets of earlier days too.
    """
    records = sum(state.counts.values())
    for block in state.tell_demand(all_of_it=all_of_it):
        whole = DemandRecord(
            partition=state.partition,
            bucket=block.bucket,
            bucket_ms=state.settings.demand_ms,
            records=records,
            keys=block.keys,
            markets=block.markets,
            counts=block.counts,
        )
        for record in whole.split():
            yield record.key, record.pack() if block.live else None


def take_demand(live: LivePopularity, records: Sequence[LogRecord]) -> int:
    """Add records of the topic to a sum; returns the number of records that changed it.

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
        if found.bucket_ms == live.bucket_ms:
            news += live.put(found)
    return news
