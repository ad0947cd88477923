"""A trained head over the small world, made once for all tests that only read it."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from dynamic_layer import (
    DemandRecord,
    DynamicBundle,
    ExampleBatch,
    HeadSettings,
    LivePopularity,
    RankingSettings,
    Trainer,
)
from tests.dynamic_layer.worlds import (
    DAY_MS,
    SMALL,
    START_MS,
    Items,
    make_examples,
    make_items,
    unit,
)

HOUR_MS = 3_600_000
NOW_MS = START_MS + 30 * DAY_MS
HEADED = replace(
    SMALL,
    ranking=RankingSettings(
        enabled=True, towers=20, neighbours=20, demand=10, limit=40, min_lists=50, first_least=0,
        head=HeadSettings(hidden=8, negatives=32, epochs=8.0, few_lists=0),
    ),
)  # fmt: skip


class Headed(NamedTuple):
    """A static bundle, the examples that a trainer learned from, and its bundle with a head."""

    static: Items
    examples: ExampleBatch
    trainer: Trainer
    bundle: DynamicBundle


@cache
def headed() -> Headed:
    static = make_items()
    # Vectors that tell nothing: the towers have demand alone to go by.
    rng = np.random.default_rng(5)
    static.hgnn = unit(rng.normal(size=static.hgnn.shape))
    static.text = unit(rng.normal(size=static.text.shape)).astype(np.float16)
    static.weights = {"ease": same_topic(static)}  # type: ignore[attr-defined]
    examples = make_examples(static, 2_000)
    trainer = Trainer(static, HEADED, seed=7, ranking=True, live=live_of(examples))
    trainer.add(examples)
    trainer.train()
    bundle = trainer.publish()
    assert bundle.head is not None
    return Headed(static, examples, trainer, bundle)


def same_topic(items: Items) -> sp.csr_array:
    """Weights that know the topics: what counts over many users would give."""
    n = len(items.topic)
    alike = (items.topic[:, None] == items.topic) & ~np.eye(n, dtype=bool)
    noise = np.random.default_rng(3).random((n, n))
    return sp.csr_array((alike * (0.5 + noise)).astype(np.float32))


def live_of(examples: ExampleBatch) -> LivePopularity:
    """The events of a batch as the states of one partition count them."""
    live = LivePopularity(bucket_ms=HOUR_MS, window_buckets=90 * 24)
    count_into(live, examples)
    return live


def count_into(live: LivePopularity, examples: ExampleBatch) -> None:
    bucket = examples.timestamp // HOUR_MS
    for number in np.unique(bucket).tolist():
        keys, counts = np.unique(examples.target[bucket == number], return_counts=True)
        put(live, number, keys, counts)


def put(live: LivePopularity, bucket: int, keys: NDArray[np.uint64], counts: object) -> None:
    record = DemandRecord(
        partition=0, bucket=bucket, bucket_ms=HOUR_MS, records=1, keys=keys,
        markets=np.zeros(len(keys), np.int64), counts=np.asarray(counts, np.int64),
    )  # fmt: skip
    live.put(record)
