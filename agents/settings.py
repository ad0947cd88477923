"""How agents behave: batch sizes, rhythms, what they answer."""

import re
from dataclasses import dataclass

from dynamic_layer import ListSettings
from streams import DEFAULT_CHANNEL, NAME_PATTERN

__all__ = ["TrainerSettings", "WorkerSettings"]


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of `segue worker`.

    group:              consumer group of the workers.
    session_timeout_s:  a worker that is silent for so long loses its partitions to the others.
    rebalance_timeout_s: how long the others wait for a worker to finish its batch, commit and
                        checkpoint before they go on without it.
    threads:            threads of torch and FAISS; a batch of users is too small to gain by more.
    batch:              records of one partition that are applied at once, at most.
    commit_every_ms:    longest time between two commits of a partition's state.
    commit_quiet_ms:    a partition to which nothing came for so long is committed at once.
    commit_deltas:      co-interaction deltas that wait for a commit, at most.
    checkpoint_every_s: time between two checkpoints of a partition, in seconds.
    keep_checkpoints:   checkpoints of a partition that stay in the artifact store.
    answer_every_ms:    a user gets at most one answer in this time, however many events come.
    answer_pause_ms:    pause between two rounds of answers; users of one round share their cost.
    answer_users:       users that are answered at once, at most; with more, a user costs less.
    answer_fair_s:      as long as nobody waits longer, half of a round that cannot hold all is for
                        those who wait longest; beyond it, and with 0, the newest news come first.
    answer_within_s:    users whose news is older wait no longer; under more load than a worker can
                        answer, those who are listening now still get their lists in time.
    waiting_users:      users that wait for an answer, at most; beyond it the longest-waiting go.
    answer_backlog:     records of a partition that are read again after a crash or a rebalance, at
                        most, to find users who were not answered; with more, some stay without.
    example_share:      share of the events that become training examples, chosen by their offset.
    example_history:    history entries of an example, newest first.
    ranking_head:       rank by a bundle's head where it has one; else by towers and popularity.
    head_waiting:       users that wait beside those of a round from which on it does without the
                        head: lists in half the time are better than lists that come too late.
    demand_hours:       latest hours of live popularity that a worker keeps in memory; what is older
                        it knows from the bundle, which is not to be older than this.
    lists:              the named lists; empty means one mixed list and one per item type.
    list_length:        items of the default lists.
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
    answer_backlog: int = 20_000
    example_share: float = 1.0
    example_history: int = 50
    ranking_head: bool = True
    head_waiting: int = 32
    demand_hours: float = 48.0
    lists: tuple[ListSettings, ...] = ()
    list_length: int = 10


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Settings of `segue trainer`.

    channel:         on which bundles are published; another one than `default` is for an arm of
                     `experiments`. A channel has one trainer, with its own checkpoints and group.
    group:           consumer group of the trainer; on another channel than `default`, with a hyphen
                     and the channel's name behind it.
    slice_s:         seconds of training between two looks at the log.
    settle_s:        before the first bundle, training begins when the examples at hand grew by
                     less than a tenth in this many seconds: the log has been read.
    publish_every_s: least time between two bundles.
    adopt_within_s:  longest time that the first bundle on a new static bundle waits until the gate
                     can compare it with the one served (256 held-out examples from after the
                     snapshot) and all that is there has been learned.
    min_examples:    new examples without which no bundle is made while there is more to learn.
    keep_bundles:    bundles of a kind that stay in the artifact store.
    checkpoint_every_s: time between two checkpoints of the trainer on its disk, in seconds, while
                     there is anything new: what a kill costs at most.
    keep_checkpoints: checkpoints of the trainer that stay on its disk.
    prequential_per_s: new examples a second about which the served bundle is asked before anything
                     learns from them, at most; 0 asks nothing. One costs about a millisecond of a
                     core for each 100,000 items of its type.
    seed:            of the towers and of the choice of batches.
    threads:         threads of torch; 0 leaves torch's own choice.
    """

    channel: str = DEFAULT_CHANNEL
    group: str = "segue-trainer"
    slice_s: float = 0.5
    settle_s: float = 2.0
    publish_every_s: float = 60.0
    adopt_within_s: float = 600.0
    min_examples: int = 200
    keep_bundles: int = 5
    checkpoint_every_s: float = 30.0
    keep_checkpoints: int = 2
    prequential_per_s: float = 20.0
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        """Refuse a channel that is no name."""
        if not re.fullmatch(NAME_PATTERN, self.channel):
            raise ValueError(f"expected a channel like {NAME_PATTERN}, got {self.channel!r}")

    @property
    def own_group(self) -> str:
        """The consumer group of the trainer on its channel."""
        return self.group if self.channel == DEFAULT_CHANNEL else f"{self.group}-{self.channel}"
