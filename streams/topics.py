"""The topics: their names, partitions, retention and cleanup, in one place."""

from dataclasses import dataclass, field

DAY_MS = 86_400_000
KEEP_FOR_EVER = -1

# A record that is far too large must still be accepted by the broker: refused there, it would be
# lost without a trace; accepted, it becomes a dead letter with its reason.
ACCEPTED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class TopicSettings:
    """Names and retention of topics.

    prefix:               first part of every topic's name.
    partitions:           partitions of the topics that are keyed by user or item. Events,
                          catalogue and users have the same number, so that one worker holds the
                          same share of each. Changed by `segue topics grow` once there are records.
    replication:          copies of each partition; 1 for development, 3 in production.
    events_days:          days that events, impressions and examples are kept. More than the window
                          of the state (90), so that the state can be rebuilt from the log.
    recommendations_days: days that recommendations are kept.
    users_days:           maximum days until replaced or deleted attributes of users are compacted
                          away.
    requests_days:        days that requests are kept.
    dead_letters_days:    days that dead letters are kept.
    receipts_days:        days that receipts of erasures are kept.
    """

    prefix: str = "segue"
    partitions: int = 4
    replication: int = 1
    events_days: int = 100
    recommendations_days: int = 7
    users_days: int = 7
    requests_days: int = 1
    dead_letters_days: int = 30
    receipts_days: int = 365

    def __post_init__(self) -> None:
        """Refuse what Kafka would refuse later."""
        for name in ("partitions", "replication"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def events(self) -> str:
        """Topic of events."""
        return f"{self.prefix}.events"

    @property
    def impressions(self) -> str:
        """Topic of impressions: what was shown."""
        return f"{self.prefix}.impressions"

    @property
    def catalogue(self) -> str:
        """Topic of items."""
        return f"{self.prefix}.catalogue"

    @property
    def users(self) -> str:
        """Topic of users."""
        return f"{self.prefix}.users"

    @property
    def examples(self) -> str:
        """Topic of training examples."""
        return f"{self.prefix}.examples"

    @property
    def demand(self) -> str:
        """Topic of live popularity: each partition's counts by bucket."""
        return f"{self.prefix}.demand"

    @property
    def models(self) -> str:
        """Topic of model announcements."""
        return f"{self.prefix}.models"

    @property
    def rows(self) -> str:
        """Topic of changed item rows of served bundles."""
        return f"{self.prefix}.rows"

    @property
    def recommendations(self) -> str:
        """Topic of recommendations."""
        return f"{self.prefix}.recommendations"

    @property
    def requests(self) -> str:
        """Topic of requests."""
        return f"{self.prefix}.requests"

    @property
    def dead_letters(self) -> str:
        """Topic of dead letters."""
        return f"{self.prefix}.dead-letters"

    @property
    def erasures(self) -> str:
        """Topic of erased users, without their names; read whole before events are."""
        return f"{self.prefix}.erasures"

    @property
    def policies(self) -> str:
        """Topic of policies of lists, all versions of them."""
        return f"{self.prefix}.policies"

    @property
    def receipts(self) -> str:
        """Topic of receipts of erasures."""
        return f"{self.prefix}.receipts"


@dataclass(frozen=True, kw_only=True)
class TopicDefinition:
    """One topic as it should be.

    retention_ms:   how long records are kept, in milliseconds; KEEP_FOR_EVER for compacted topics.
    cleanup_policy: delete or compact.
    config:         further settings of the topic, by Kafka's names, as text.
    """

    name: str
    partitions: int
    replication: int = 1
    retention_ms: int = KEEP_FOR_EVER
    cleanup_policy: str = "delete"
    config: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """All settings of the topic by Kafka's names.

        With three copies or more, a record counts as written when all but one have it: with
        Kafka's default, one copy is enough, and is lost with its disk.
        """
        found = {
            "cleanup.policy": self.cleanup_policy,
            "retention.ms": str(self.retention_ms),
        }
        if self.replication > 2:
            found["min.insync.replicas"] = str(self.replication - 1)
        return found | self.config


def topics(settings: TopicSettings) -> list[TopicDefinition]:
    """Return the definitions of all topics."""

    def kept(name: str, days: int) -> TopicDefinition:
        return TopicDefinition(
            name=name,
            partitions=settings.partitions,
            replication=settings.replication,
            retention_ms=days * DAY_MS,
            config=dict(_CONFIG),
        )

    def compacted(name: str, partitions: int, **config: str) -> TopicDefinition:
        return TopicDefinition(
            name=name,
            partitions=partitions,
            replication=settings.replication,
            cleanup_policy="compact",
            config=_CONFIG | config,
        )

    return [
        kept(settings.events, settings.events_days),
        kept(settings.impressions, settings.events_days),
        compacted(settings.catalogue, settings.partitions),
        compacted(
            settings.users,
            settings.partitions,
            # Without it a quiet topic is never compacted, and keeps who was erased.
            **{"max.compaction.lag.ms": str(settings.users_days * DAY_MS)},
        ),
        kept(settings.examples, settings.events_days),
        compacted(settings.demand, settings.partitions),
        compacted(settings.models, 1),
        compacted(settings.rows, 1),
        kept(settings.recommendations, settings.recommendations_days),
        kept(settings.requests, settings.requests_days),
        kept(settings.dead_letters, settings.dead_letters_days),
        compacted(settings.erasures, 1),
        compacted(settings.policies, 1),
        kept(settings.receipts, settings.receipts_days),
    ]


_CONFIG = {
    # The log's time is when a record arrived. By the producer's time, a fed history of past years
    # would be deleted on arrival, and "too far in the future" could not be judged.
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(ACCEPTED_BYTES),
}
