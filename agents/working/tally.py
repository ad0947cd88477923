"""Metrics of a worker."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Metric

from agents.bundles.channels import Channels
from agents.bundles.rows import ROW_OUTCOMES
from agents.policies import PolicyBook
from agents.store_tally import StoreTally
from state import Applied
from streams import DeadLetter, LogRecord
from streams.source_topics import MissingTopics

__all__ = ["Tally"]

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 120)


class Follows(Protocol):
    """What metrics show of a standby; see `agents.standby.Standby`."""

    @property
    def followed(self) -> frozenset[int]: ...

    def lag(self) -> int: ...


class Tally:
    """Counts of one worker since it started; every record is applied, a dead letter or ignored.

    records:      records of the events topic that were handled.
    applied:      of these, events that are in the state.
    ignored:      of these, records of kinds that the settings ignore.
    dead_letters: of these, refused ones, by reason.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Count from zero; metrics go to `registry` (default a fresh one)."""
        registry = registry or CollectorRegistry()
        self.registry = registry
        self.store = StoreTally(registry)
        self.topics = MissingTopics(registry)
        self.records = 0
        self.applied = 0
        self.ignored = 0
        self.dead_letters: Counter[str] = Counter()
        self.examples = 0
        self.recommendations = 0
        self.users_shed = 0
        self._applied = Metric("segue_events_applied", "Events applied.", registry=registry)
        self._refused = Metric(
            "segue_events_refused", "Events refused.", ["reason"], registry=registry
        )
        self._ignored = Metric(
            "segue_events_ignored",
            "Records of kinds that the settings ignore: neither applied nor refused.",
            registry=registry,
        )
        self._items_refused = Metric(
            "segue_item_sources_refused",
            "Records of topics of items of other owners that are no items.",
            ["topic", "reason"],
            registry=registry,
        )
        self._keys_forgotten = Metric(
            "segue_item_sources_keys_forgotten",
            "Keys of records that were forgotten since later keys have the same item.",
            ["topic"],
            registry=registry,
        )
        self._written = Metric("segue_examples", "Training examples written.", registry=registry)
        self._answers = Metric(
            "segue_recommendations", "Recommendation records written.", registry=registry
        )
        self._shortened = Metric(
            "segue_answers_shortened",
            "Users whose lists were ranked from fewer candidates, or without the head, because "
            "many users were waiting.",
            registry=registry,
        )
        self._shed = Metric(
            "segue_answers_shed",
            "Users who were dropped because they waited too long for lists.",
            registry=registry,
        )
        self._failed = Metric(
            "segue_answers_failed",
            "Users whose lists could not be made; each has a dead letter.",
            registry=registry,
        )
        self._latency = Histogram(
            "segue_recommendation_latency_seconds",
            "Time from the log time of the event to its recommendation.",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._age = Gauge(
            "segue_last_applied_timestamp_seconds",
            "Log time of the last applied record.",
            ["partition"],
            registry=registry,
        )

        self._checkpoints = Metric("segue_checkpoints", "Checkpoints uploaded.", registry=registry)
        self._checkpoints_failed = Metric(
            "segue_checkpoints_failed", "Checkpoints that failed to upload.", registry=registry
        )
        self._checkpointed = Gauge(
            "segue_checkpoint_timestamp_seconds",
            "Time of the last checkpoint of a partition, or of its opening.",
            ["partition"],
            registry=registry,
        )
        self._generation = Gauge(
            "segue_served_generation", "Generation in use; 0 before the first.", registry=registry
        )
        self._waiting = Gauge(
            "segue_waiting_users", "Users who wait for an answer.", registry=registry
        )
        self._requests = Gauge(
            "segue_waiting_requests", "Requests that wait for an answer.", registry=registry
        )
        self._standby_partitions = Gauge(
            "segue_standby_partitions",
            "Partitions of other workers that this one follows (worker.standby).",
            registry=registry,
        )
        self._standby_lag = Gauge(
            "segue_standby_lag_records",
            "Records that their owners have committed and answered, and that the standby of this "
            "worker has not applied.",
            registry=registry,
        )
        self._arm_answers = Metric(
            "segue_arm_recommendations",
            "Recommendation records written to users of an arm.",
            ["arm"],
            registry=registry,
        )
        self._arm_shortened = Metric(
            "segue_arm_answers_shortened",
            "Users of an arm whose lists were ranked from fewer candidates, or without the head.",
            ["arm"],
            registry=registry,
        )
        self._arm_share = Gauge(
            "segue_arm_share_ratio", "Share of all users in an arm.", ["arm"], registry=registry
        )
        self._channel_generation = Gauge(
            "segue_channel_served_generation",
            "Generation in use by a channel of an experiment; 0 before the first.",
            ["channel"],
            registry=registry,
        )
        self._channel_lacking = Gauge(
            "segue_channel_lacks_bundle",
            "1 while a channel has no bundle and serves the default channel's.",
            ["channel"],
            registry=registry,
        )

        self._policy_version = Gauge(
            "segue_policy_version", "Version of a list's policy in force.", ["list"],
            registry=registry,
        )  # fmt: skip
        self._policies_refused = Gauge(
            "segue_policies_refused",
            "Versions of policies refused since the start; those before stay in force.",
            registry=registry,
        )

        self._row_deltas = Metric(
            "segue_row_deltas",
            "Deltas of changed item rows: taken; or refused for a gap, as damaged, or as of an "
            "earlier generation.",
            ["outcome"],
            registry=registry,
        )
        self._rows = Metric("segue_rows", "Changed item rows taken.", registry=registry)
        self._row_checksum = Gauge(
            "segue_rows_checksum",
            "CRC-32 of the changed item rows in use, 0 without any: equal in all workers that have "
            "taken the same deltas.",
            registry=registry,
        )
        self._row_latency = Histogram(
            "segue_row_delta_latency_seconds",
            "Time from when the trainer made changed rows until they were taken.",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )

    def watch_policies(self, policies: PolicyBook) -> None:
        """Read gauges of policies when they are asked for."""
        self._policies_refused.set_function(lambda: policies.refused)
        policies.changed = lambda name, version: self._policy_version.labels(name).set(version)

    def watch(
        self,
        *,
        generation: Callable[[], int | None],
        waiting: Callable[[], int],
        requests: Callable[[], int],
    ) -> None:
        """Read gauges when they are asked for."""
        self._generation.set_function(lambda: generation() or 0)
        self._waiting.set_function(waiting)
        self._requests.set_function(requests)

    def watch_standby(self, standby: Follows) -> None:
        """Read gauges of a standby when they are asked for; without one they stay 0."""
        self._standby_partitions.set_function(lambda: len(standby.followed))
        self._standby_lag.set_function(standby.lag)

    def watch_channels(self, channels: Channels) -> None:
        """Read gauges of an experiment when they are asked for; without one there are none."""
        arms = channels.arms
        for arm in arms.settings.arms:
            self._arm_share.labels(arm.name).set_function(partial(arms.share, arm.name))
            self._arm_answers.labels(arm.name)
            self._arm_shortened.labels(arm.name)

        def generation(channel: str) -> int:
            return channels.serving(channel).generation or 0

        for name in channels.others:
            self._channel_generation.labels(name).set_function(partial(generation, name))
            self._channel_lacking.labels(name).set_function(partial(channels.lacks, name))

    def watch_rows(self, channels: Channels, clock_ms: Callable[[], int]) -> None:
        """Count deltas of changed rows; the latency is of those made since now, ms UTC."""
        started = clock_ms()

        def counted(outcome: str, rows: int, made_ms: int) -> None:
            self._row_deltas.labels(outcome).inc()
            if outcome == "taken":
                self._rows.inc(rows)
                if made_ms >= started:
                    self._row_latency.observe(max(clock_ms() - made_ms, 0) / 1000)

        self._row_checksum.set_function(lambda: channels.default.rows_checksum)
        for outcome in ROW_OUTCOMES:
            self._row_deltas.labels(outcome)
        for name in (channels.default.channel, *channels.others):
            channels.following(name).rows.counted = counted

    def checkpointed(self, partition: int, now_ms: int) -> None:
        """Count a checkpoint."""
        self._checkpoints.inc()
        self._checkpointed.labels(partition).set(now_ms / 1000)

    def checkpoint_failed(self) -> None:
        """Count a checkpoint that was not uploaded."""
        self._checkpoints_failed.inc()

    def events(
        self,
        partition: int,
        records: Sequence[LogRecord],
        applied: Applied,
        letters: Sequence[DeadLetter],
        examples: int,
        ignored: int = 0,
    ) -> None:
        """Count a batch of the events topic."""
        self.records += len(records)
        self.applied += applied.applied + applied.skipped
        self._applied.inc(applied.applied)
        self.ignored += ignored
        self._ignored.inc(ignored)
        self.refused(letters)
        self.examples += examples
        self._written.inc(examples)
        if records[-1].timestamp >= 0:  # else the log has no time of it
            self._age.labels(partition).set(records[-1].timestamp / 1000)

    def opened(self, partition: int, now_ms: int) -> None:
        """Begin to watch a partition: until it applies a record, its age counts from now."""
        self._age.labels(partition).set(now_ms / 1000)
        self._checkpointed.labels(partition).set(now_ms / 1000)

    def closed(self, partition: int) -> None:
        """Watch a partition no longer: another worker does."""
        for gauge in (self._age, self._checkpointed):
            with suppress(KeyError):
                gauge.remove(partition)

    def items_refused(self, letters: Sequence[DeadLetter]) -> None:
        """Count refused records of topics of items of other owners."""
        for letter in letters:
            self._items_refused.labels(letter.source.topic, letter.reason.value).inc()

    def item_key_forgotten(self, topic: str) -> None:
        """Count a key of a topic of items that was forgotten."""
        self._keys_forgotten.labels(topic).inc()

    def refused(self, letters: Sequence[DeadLetter]) -> None:
        """Count dead letters of any topic."""
        for letter in letters:
            self.dead_letters[letter.reason.value] += 1
            self._refused.labels(letter.reason.value).inc()

    def failed(self, users: int) -> None:
        """Count users whose lists could not be made."""
        self._failed.inc(users)

    def shed(self, users: int) -> None:
        """Note how many users were dropped so far, since they waited too long."""
        self._shed.inc(users - self.users_shed)
        self.users_shed = users

    def shortened(self, users: Mapping[str | None, int]) -> None:
        """Count users, by arm, whose lists were shortened because others were waiting."""
        for arm, of_it in users.items():
            self._shortened.inc(of_it)
            if arm is not None:
                self._arm_shortened.labels(arm).inc(of_it)

    def answered(self, records: int, by_arm: Mapping[str, int] | None = None) -> None:
        """Count recommendation records; by_arm: of these, those to users of arms."""
        self.recommendations += records
        self._answers.inc(records)
        for arm, of_it in (by_arm or {}).items():
            self._arm_answers.labels(arm).inc(of_it)
