"""Settings of agents: batch sizes, intervals, lists."""

import re
from dataclasses import dataclass

from dynamic_layer import ListSettings
from streams import DEFAULT_CHANNEL, NAME_PATTERN

__all__ = ["TrainerSettings", "WorkerSettings"]


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of `segue worker`.

    group:              consumer group of the workers.
    session_timeout_s:  a worker without heartbeat for this time loses its partitions.
    rebalance_timeout_s: maximum time that the other workers wait for a worker to finish its batch
                         and commit.
    threads:            threads of torch and FAISS; batches of users are too small to gain from
                        more.
    batch:              maximum records of one partition per batch.
    commit_every_ms:    maximum time between two commits of a partition's state.
    commit_quiet_ms:    a partition without new records for this time is committed at once.
    commit_deltas:      maximum number of uncommitted co-interaction deltas.
    checkpoint_every_s: time between two checkpoints of a partition, in seconds.
    keep_checkpoints:   number of checkpoints of a partition in the artifact store.
    answer_every_ms:    a user gets at most one answer in this time.
    answer_pause_ms:    pause between two rounds of answers; users of one round share the cost.
    answer_users:       maximum users per round of answers; larger rounds cost less per user.
    answer_fair_s:      while no user waits longer than this, half of a full round is for the users
                        who wait longest; beyond it, and with 0, the most recently updated users
                        come first.
    answer_within_s:    users whose last update is older are dropped from the queue, so that active
                        users get their lists in time when a worker is overloaded.
    waiting_users:      maximum number of users that wait for an answer; beyond it, those who wait
                        longest are dropped.
    waiting_requests:   maximum number of requests that wait in memory for an answer; more stay in
                        the log.
    answer_backlog:     maximum number of records of a partition that are read again after a crash
                        or a rebalance to find unanswered users; beyond it, some users get no
                        answer.
    example_share:      share of the events that become training examples, selected by offset.
    example_history:    newest history entries in most examples. The trainer's
                        `dynamic.replay.history_cap` must be the same.
    whole_share:        share of the examples that hold complete histories, selected by offset. The
                        ranking head learns from these, and the gate evaluates bundles on them. They
                        are longer: the examples topic grows with this share.
    skew_share:         share of the answers of which the worker writes what the ranking head read,
                        selected by the offset of the event, so that the trainer can compare it with
                        what training reads; up to 50 KB each. Not more than 0.01, of which the
                        trainer remembers the examples; 0 turns the comparison off.
    ranking_head:       rank with a bundle's head if it has one; else with towers and popularity.
    head_waiting:       number of further waiting users from which on the head ranks half of the
                        candidates, so that lists are not late; from twice as many on, a quarter;
                       from four times as many on, lists are made without the head.
    demand_hours:       hours of live popularity that a worker keeps in memory; older counts come
                        from the bundle, which must not be older than this.
    lists:              the named lists; empty means one mixed list and one per item type.
    list_length:        items of the default lists.
    standby:            keep warm states of the partitions that other workers own, so that this
                        worker takes one over within seconds. It costs one more application of each
                        event, and disk and memory for every partition (docs/standby.md).
    shown_lists:        lists that count as shown when they are written, by name
                        (docs/impressions.md).
    """

    group: str = "segue-workers"
    session_timeout_s: float = 6.0
    rebalance_timeout_s: float = 60.0
    threads: int = 1
    batch: int = 4096
    commit_every_ms: int = 5_000
    commit_quiet_ms: int = 200
    commit_deltas: int = 4_000_000
    checkpoint_every_s: float = 300.0
    keep_checkpoints: int = 3
    answer_every_ms: int = 500
    answer_pause_ms: int = 20
    answer_users: int = 64
    answer_fair_s: float = 10.0
    answer_within_s: float = 120.0
    waiting_users: int = 200_000
    waiting_requests: int = 20_000
    answer_backlog: int = 20_000
    example_share: float = 1.0
    example_history: int = 50
    whole_share: float = 0.25
    skew_share: float = 0.001
    ranking_head: bool = True
    head_waiting: int = 32
    demand_hours: float = 48.0
    lists: tuple[ListSettings, ...] = ()
    list_length: int = 10
    standby: bool = False
    shown_lists: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Settings of `segue trainer`.

    channel:         channel for published bundles; a channel other than `default` is for an arm of
                     `experiments`. A channel has one trainer, with its own checkpoints and group.
    group:           consumer group of the trainer; on a channel other than `default`, followed by a
                     hyphen and the channel's name.
    slice_s:         seconds of training between two reads of the log. It does not change what
                     is learned from the examples.
    settle_s:        before the first bundle, training starts when the number of examples grows by
                     less than a tenth in this many seconds: then the log is read.
    publish_every_s: minimum time between two bundles.
    adopt_within_s:  maximum time that the first bundle on a new static bundle waits until the gate
                     can compare it with the served one (256 held-out examples after the snapshot)
                     and all examples are learned.
    judge_within_s:  maximum time that a new bundle waits for held-out examples that come after it,
                     on which the gate compares it with the served one. 2,048 are enough; with fewer
                     than 256 the gate also uses earlier ones. If none arrive, it does not wait.
    min_examples:    minimum number of new examples for a bundle, while more examples are left to
                     learn.
    keep_bundles:    number of bundles of a kind in the artifact store.
    checkpoint_every_s: time between two checkpoints of the trainer on its disk, in seconds, if
                        anything is new: the maximum work lost in a kill.
    keep_checkpoints: number of checkpoints on the trainer's disk.
    prequential_per_s: maximum new examples per second on which the served bundle is evaluated
                       before any model learns from them; 0 turns it off. One costs about a
                       millisecond of a core per 100,000 items of its type.
    rows_every_steps: optimiser steps between two deltas of changed item rows, which workers serve
                     until the next bundle; 0 sends none (docs/trainer.md).
    rows_within_s:   time after which rows are sent even though there were fewer steps.
    rows_threshold:  change of a score (affinity plus weighted log popularity) up to which an item's
                     row is not sent again; 1.0 is a factor of e in the chance of an item.
    seed:            random seed of the towers and of the batches.
    threads:         threads of torch; 0: the cores that this process may use.
    """

    channel: str = DEFAULT_CHANNEL
    group: str = "segue-trainer"
    slice_s: float = 0.5
    settle_s: float = 2.0
    publish_every_s: float = 60.0
    adopt_within_s: float = 600.0
    judge_within_s: float = 30.0
    min_examples: int = 200
    keep_bundles: int = 5
    checkpoint_every_s: float = 30.0
    keep_checkpoints: int = 2
    prequential_per_s: float = 20.0
    rows_every_steps: int = 0
    rows_within_s: float = 10.0
    rows_threshold: float = 0.25
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse invalid channel names."""
        if not re.fullmatch(NAME_PATTERN, self.channel):
            raise ValueError(f"expected a channel like {NAME_PATTERN}, got {self.channel!r}")

    @property
    def own_group(self) -> str:
        """The consumer group of the trainer on its channel."""
        return self.group if self.channel == DEFAULT_CHANNEL else f"{self.group}-{self.channel}"
