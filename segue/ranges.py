"""Valid ranges of settings: no number is negative, infinite or NaN; many have narrower ranges.

One table with a rule for all settings: a setting that is added later is checked without an entry
here.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Range", "check_ranges", "numbers_of", "range_of"]


class Range(NamedTuple):
    """Numbers from `low` to `high`, inclusive; with `above`, greater than `low`."""

    low: float = 0
    high: float = 2**63 - 1
    above: bool = False

    def has(self, number: float) -> bool:
        """Whether a number is in the range; NaN never is."""
        return (self.low < number if self.above else self.low <= number) and number <= self.high

    def __str__(self) -> str:
        least = f"more than {self.low:g}" if self.above else f"at least {self.low:g}"
        most = "" if self.high == Range().high else f" and at most {self.high:g}"
        return f"a number of {least}{most}"


_COUNT, _POSITIVE = Range(1), Range(0, above=True)
_SHARE, _PORT = Range(0, 1), Range(0, 65_535)
_SKEW_SHARE = Range(0, 0.01)

#: Settings whose range is not that of all others. A path has no numbers of list entries.
_RANGES = {
    _COUNT: """
        console.apply console.batch console.burst console.clients console.max_body_bytes
        console.threads console.waiting console.writes.body_bytes
        console.writes.in_flight_bytes console.writes.key_bytes console.writes.keys
        console.writes.rows dynamic.batch_size dynamic.live_graph.most_counts
        dynamic.live_graph.most_items dynamic.ranking.ease.degree_cap
        dynamic.ranking.ease.kept dynamic.ranking.ease.neighbours
        dynamic.ranking.head.batch_size
        dynamic.ranking.head.capacity dynamic.ranking.head.hidden dynamic.ranking.head.negatives
        dynamic.ranking.entries dynamic.ranking.limit dynamic.ranking.near_items
        dynamic.replay.capacity
        dynamic.replay.entries dynamic.replay.history_cap dynamic.replay.whole_history
        dynamic.sequence.blocks dynamic.sequence.candidates dynamic.sequence.examples
        dynamic.sequence.heads dynamic.sequence.lags dynamic.sequence.negatives
        dynamic.sequence.width
        dynamic.towers.layers events.max_bytes experiments.arms.canary.publications
        experiments.arms.canary.questions kafka.request_timeout_ms ray.cpus ray.workers rekey.batch
        rekey.settle_every_ms state.delta_room state.demand_bucket_ms state.history_cap
        state.text_users state.window.bucket_ms state.window.buckets state.write_buffer_bytes
        static.graph.max_degree static.graph.min_count static.hgnn.hidden static.hgnn.layers
        static.hgnn.output static.inference_chunk static.text.batch_size static.text.max_tokens
        static.train.batch_size static.train.epochs static.train.negatives
        topics.dead_letters_days topics.events_days topics.partitions topics.receipts_days
        topics.recommendations_days topics.replication topics.requests_days topics.users_days
        trainer.keep_bundles trainer.keep_checkpoints worker.answer_users worker.batch
        worker.commit_deltas worker.commit_every_ms worker.example_history
        worker.keep_checkpoints worker.list_length worker.lists.k worker.threads
        worker.waiting_users
    """,
    _POSITIVE: """
        console.writes.wait_s
        dynamic.learning_rate dynamic.popularity.bucket_hours
        dynamic.popularity.half_lives_days dynamic.popularity.remember_days
        dynamic.ranking.demand_half_lives_days dynamic.ranking.ease.ridge
        dynamic.ranking.half_lives_days dynamic.ranking.head.epochs
        dynamic.ranking.head.learning_rate dynamic.ranking.shown_half_lives_days
        dynamic.replay.epochs dynamic.replay.window_days dynamic.sequence.learning_rate
        dynamic.towers.half_lives_days dynamic.towers.temperature experiments.arms.canary.every_s
        experiments.arms.canary.look_s static.train.learning_rate static.train.temperature
        static.train.tune_learning_rate trainer.slice_s worker.demand_hours
        worker.rebalance_timeout_s worker.session_timeout_s
    """,
    _SHARE: """
        dynamic.averaging dynamic.gate.max_similarity dynamic.gate.min_coverage
        dynamic.gate.min_recall dynamic.index.fresh_share dynamic.index.recall
        dynamic.live_graph.threshold dynamic.loss.repeat_share dynamic.ranking.first_share
        dynamic.ranking.head.averaging
        dynamic.replay.holdout_share dynamic.sequence.dropout dynamic.towers.dropout
        experiments.arms.canary.first
        experiments.arms.canary.step experiments.arms.share static.keep static.train.cold_share
        static.train.validation_share worker.example_share worker.whole_share
    """,
    _PORT: "console.port",
    _SKEW_SHARE: "worker.skew_share",
}
_BY_PATH = {path: range_ for range_, paths in _RANGES.items() for path in paths.split()}


def range_of(path: str) -> Range:
    """Return the range of a setting.

    >>> str(range_of("worker.batch")), str(range_of("worker.lists[2].k"))
    ('a number of at least 1', 'a number of at least 1')
    """
    return _BY_PATH.get(re.sub(r"\[\d+\]", "", path), Range())


def numbers_of(settings: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield path and value of every number in settings, including lists."""
    if isinstance(settings, bool):
        return
    if isinstance(settings, (int, float)):
        yield path, settings
    elif isinstance(settings, tuple):
        for number, part in enumerate(settings):
            yield from numbers_of(part, f"{path}[{number}]")
    elif dataclasses.is_dataclass(settings):
        for item in dataclasses.fields(settings):
            yield from numbers_of(getattr(settings, item.name), f"{path}.{item.name}".lstrip("."))


def check_ranges(settings: Any) -> None:
    """Raise ValueError that names the first setting out of its range."""
    for path, number in numbers_of(settings):
        expected = range_of(path)
        if not expected.has(number) or not math.isfinite(number):
            raise ValueError(f"{path}: expected {expected}, got {number}")
