"""Topics of sources in the log: whether they are there, can be read, and end for an erasure."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Gauge

from streams.admin import Log, partition_counts, topic_identities
from streams.codec import encode
from streams.erasure_records import EraseUser
from streams.item_mapping import ItemDecoder
from streams.item_sources import ItemSourceSettings
from streams.offsets import end_offsets
from streams.partitioner import murmur2_partition
from streams.positions import TopicIdentity
from streams.sources import PersonalTopic, SourceError

logger = logging.getLogger(__name__)

#: Answers of a broker in a row without a topic, from which on it is missed.
MISSED = 2
#: What `segue status` and `segue doctor` say of a source without a topic.
NO_TOPIC = (
    "the topic does not exist: have its owner create it, or correct or remove its entry in the "
    "settings"
)


class MissingTopics:
    """Topics that a running process reads and that are gone: told once each, and in a metric."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Miss no topic. registry: gets the metric."""
        self._lacking: Counter[str] = Counter()  # answers in a row without the topic
        self._gauge = Gauge(
            "segue_topic_missing",
            "1 while a topic that is read, of Segue's own or of a source, does not exist.",
            ["topic"],
            registry=registry,
        )

    def note(self, names: Collection[str], found: Mapping[str, TopicIdentity]) -> None:
        """Take what the broker says of topics; nothing at all where it does not answer.

        names: that were asked for, at least one of Segue's own among them. A topic is missed from
        the second answer without it on: a broker that has just started may answer without some.
        """
        if not found:
            return
        for name in sorted(names):
            before = self._lacking[name]
            self._lacking[name] = 0 if name in found else before + 1
            self._gauge.labels(name).set(self._lacking[name] >= MISSED)
            if name in found and before >= MISSED:
                logger.warning("topic %s is there again", name)
            elif self._lacking[name] == MISSED:
                logger.error(
                    "topic %s was deleted: what was read of it stays, and nothing new comes. Have "
                    "its owner create it again, or remove it from the settings; then start this "
                    "process again",
                    name,
                )


def topic_faults(log: Log, sources: Iterable[PersonalTopic], partitions: int) -> dict[str, str]:
    """Return by topic what is wrong with sources' topics as they are in Kafka; often nothing.

    partitions: of our own keyed topics. Raises AdminError.
    """
    sources = list(sources)
    found = partition_counts(log, [source.topic for source in sources])
    faults = {}
    for source in sources:
        count = found.get(source.topic)
        if count is None:
            faults[source.topic] = NO_TOPIC
        elif source.keyed_by_user and count != partitions:
            faults[source.topic] = (
                f"it has {count} partitions and Segue's topics have {partitions}: set "
                f"topics.partitions to {count} before the topics are created, or "
                "keyed_by_user to false for this source"
            )
    return faults


def require_topics(log: Log, sources: Iterable[PersonalTopic], partitions: int) -> None:
    """Raise SourceError when a source's topic cannot be read as configured."""
    faults = topic_faults(log, sources, partitions)
    if faults:
        raise SourceError("; ".join(f"source {name}: {fault}" for name, fault in faults.items()))


def require_item_topics(log: Log, sources: Sequence[ItemSourceSettings]) -> None:
    """Raise SourceError for a source of items without a topic or a reader. Raises AdminError."""
    for source in sources:
        ItemDecoder(source)
    names = [source.topic for source in sources]
    found = partition_counts(log, names) if names else {}
    if missing := [name for name in names if name not in found]:
        raise SourceError(
            f"item_sources: the topic {', '.join(missing)} does not exist: have its owner create "
            "it, or correct the name in the settings"
        )


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
