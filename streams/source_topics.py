"""Whether the topics of sources can be read as they are configured."""

from collections.abc import Iterable, Sequence

from streams.admin import Log, partition_counts
from streams.item_mapping import ItemDecoder
from streams.item_sources import ItemSourceSettings
from streams.sources import PersonalTopic, SourceError


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
            faults[source.topic] = "the topic does not exist"
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
