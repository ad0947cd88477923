"""What an erasure says of other topics of events than the one that it is written to."""

from collections.abc import Iterable

from streams.admin import Log, partition_counts, topic_identities
from streams.codec import encode
from streams.erasure_records import EraseUser
from streams.offsets import end_offsets
from streams.partitioner import murmur2_partition
from streams.sources import PersonalTopic

__all__ = ["erasure_value"]


def erasure_value(log: Log, user_id: str, sources: Iterable[PersonalTopic]) -> bytes | None:
    """Return the value of the record that erases a user now, under the user's key.

    It names the ends of the sources' topics: of a topic that is read in place in the user's own
    partition, of one that is re-keyed in all of them, since the user's records may lie anywhere. To
    be called just before the record is written. None, which erases too, where nothing is to be
    named. A topic that does not exist holds nothing and is passed over. Raises AdminError.
    """
    sources = list(sources)
    counts = partition_counts(log, [source.topic for source in sources])
    there = [source for source in sources if source.topic in counts]
    if not there:
        return None
    ends = end_offsets(log, [source.topic for source in there])
    count_from: dict[str, int] = {}
    for source in there:
        own = murmur2_partition(user_id.encode(), counts[source.topic])
        for partition, end in ends[source.topic].items():
            if partition == own or not source.keyed_by_user:
                count_from[f"{source.topic}/{partition}"] = end
    ids = {name: found.id for name, found in topic_identities(log, ends).items() if found.id}
    return encode(EraseUser(user_id=user_id, erase=True, count_from=count_from, topic_ids=ids))
