"""The two-tower with HGNN vectors, fitted by the very objects that serve it.

Events pass through a partition's state as they would in a worker. The graph ends before the first
example that the towers learn from; both end before the split.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from dynamic_layer import DynamicBundle, DynamicSettings, ExampleBatch, Trainer
from dynamic_layer.bundles.bundle import served_vectors
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset
from evaluation.model import Past
from evaluation.split import DAY_MS
from state import (
    CATALOGUE_SCHEMA,
    MergedState,
    PartitionState,
    StateSettings,
    Window,
    item_key,
)
from static_layer import Progress, StaticBundle, StaticSettings, TrainSettings, build

__all__ = ["StateEvents", "state_settings", "train_to_rest", "two_tower"]

TOPIC = "events"
STRONG, WEAK = "stream", "weak"
BATCH = 16_384
SLICE_STEPS = 64  # between two reports of progress
#: Share of the events before the split that the graph is made of; the rest are examples.
GRAPH_SHARE = 0.8
#: Buckets of the state's window; it is made to span all events.
BUCKETS = 120


def two_tower(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    use_hgnn: bool = True,
    hgnn_epochs: int = 10,
    epochs: float = 2.0,
) -> Scorer:
    """Fit static layer and towers on the past, and score users as of the moment they are asked.

    use_hgnn: whether the towers read HGNN vectors, or text alone. epochs: of the towers.
    Users without history score by recent popularity, as they are served.
    """
    settings = replace(
        DynamicSettings(), replay=replace(DynamicSettings().replay, epochs=epochs, window_days=36e3)
    )
    # The towers' examples are a stretch of time: no timestamp is on both sides.
    at = split.train.timestamp[min(int(len(split.train) * GRAPH_SHARE), len(split.train) - 1)]
    cut = int(np.searchsorted(split.train.timestamp, at))
    with tempfile.TemporaryDirectory(prefix="segue-evaluate-") as folder:
        state = PartitionState(Path(folder), 0, state_settings(split))
        events = StateEvents.of(dataset, split)
        try:
            for part in events.parts(0, cut):
                state.apply_events(TOPIC, part, int(part.offset[-1]) + 1)
            state.commit()  # counts are read from what is committed
            static = _static(
                dataset, split, state, cut,
                epochs=hgnn_epochs if use_hgnn else 1, seed=seed, progress=progress,
            )  # fmt: skip
            trainer = Trainer(static, replace(settings, use_hgnn=use_hgnn), seed=seed)
            for part in events.parts(cut, len(events)):
                trainer.add(_examples(state, part, settings.replay.history_cap))
            bundle = train_to_rest(trainer, "two-tower", len(events) - cut, progress)
            asked = _asked(dataset, split, state, settings.replay.history_cap)
        finally:
            state.close()
    return _scorer(bundle, dataset, asked)


def train_to_rest(trainer: Trainer, stage: str, examples: int, progress: Progress) -> DynamicBundle:
    """Train until every example had its epochs, and publish.

    examples: that the trainer was given, about; only the progress bar reads it.
    """
    total, done = max(1, round(examples * trainer.settings.replay.epochs)), 0
    while True:
        stats = trainer.train(max_steps=SLICE_STEPS)
        done += stats.examples
        progress(stage, min(done, total), total)
        if not stats.steps:
            progress(stage, total, total)
            return trainer.publish()


@dataclass(frozen=True, kw_only=True)
class StateEvents:
    """A batch of events as the state reads them; `offset` is the place in the past."""

    user_id: list[str]
    item_type: list[str]
    item_id: list[str]
    kind: list[str]
    timestamp: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64] | None = None
    list_code: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offset)

    @classmethod
    def of(cls, dataset: Dataset, split: Past) -> "StateEvents":
        """All events of the past, in order."""
        events, items = split.train, dataset.items
        return cls(
            user_id=dataset.users[events.user].tolist(),
            item_type=items["item_type"].gather(events.item).to_list(),
            item_id=items["item_id"].gather(events.item).to_list(),
            kind=np.where(events.strong, STRONG, WEAK).tolist(),
            timestamp=events.timestamp,
            offset=np.arange(len(events), dtype=np.int64),
        )

    def parts(self, first: int, end: int) -> Iterator["StateEvents"]:
        """Cut the events from `first` to before `end` into batches."""
        for start in range(first, end, BATCH):
            rows = slice(start, min(start + BATCH, end))
            there = {name: column for name, column in vars(self).items() if column is not None}
            yield StateEvents(**{name: column[rows] for name, column in there.items()})


def state_settings(split: Past) -> StateSettings:
    """Return settings whose window spans the whole past: its buckets are as long as that takes."""
    span = split.at_ms - int(split.train.timestamp[0])
    days = max(1, math.ceil(span / DAY_MS / (BUCKETS - 1)))
    return StateSettings(
        window=Window(bucket_ms=days * DAY_MS, buckets=BUCKETS), graph_kinds=(STRONG,)
    )


def _catalogue(dataset: Dataset) -> pl.DataFrame:
    names = zip(dataset.items["item_type"], dataset.items["item_id"], strict=True)
    frame = dataset.items.with_columns(
        pl.Series("item_key", [item_key(*name) for name in names], dtype=pl.UInt64)
    )
    known = [
        pl.col(name).cast(kind, strict=False) if _fits(frame, name, kind)
        else pl.lit(None, kind).alias(name)
        for name, kind in CATALOGUE_SCHEMA.items()
    ]  # fmt: skip
    return frame.select(known)


def _fits(frame: pl.DataFrame, name: str, kind: pl.DataType) -> bool:
    found = frame.schema.get(name)
    return found is not None and isinstance(found, pl.List) == isinstance(kind, pl.List)


def _static(
    dataset: Dataset,
    split: Past,
    state: PartitionState,
    cut: int,
    *,
    epochs: int,
    seed: int,
    progress: Progress,
) -> StaticBundle:
    merged = MergedState(
        co_interactions=state.co_interactions(),
        catalogue=_catalogue(dataset),
        offsets={TOPIC: {0: cut}},
        watermark=state.watermark,
        settings=state.settings,
    )
    encoder = split.text.encoder()
    settings = StaticSettings(train=replace(TrainSettings(), epochs=epochs))
    try:
        return build(merged, settings, seed=seed, encoder=encoder, progress=progress)
    finally:
        encoder.close()


def _examples(state: PartitionState, events: StateEvents, observe: int) -> ExampleBatch:
    """Apply events and return them as examples, each with the history before it."""
    applied = state.apply_events(
        TOPIC, events, int(events.offset[-1]) + 1,
        wanted=lambda offsets: np.ones(len(offsets), np.bool_), observe=observe,
    )  # fmt: skip
    seen = applied.observations
    rows = seen.row
    return ExampleBatch(
        topic=TOPIC,
        partition=0,
        offset=events.offset[rows],
        target=np.array(
            [item_key(events.item_type[row], events.item_id[row]) for row in rows.tolist()],
            np.uint64,
        ),
        timestamp=events.timestamp[rows],
        strong=np.array([events.kind[row] == STRONG for row in rows.tolist()], np.bool_),
        repeat=seen.repeat,
        country=[""] * len(rows),
        birth_year=np.zeros(len(rows), np.int16),
        indptr=seen.indptr,
        history_item=seen.item_keys,
        history_time=seen.time,
        history_strong=seen.strong,
    )


def _asked(dataset: Dataset, split: Past, state: PartitionState, cap: int) -> ExampleBatch:
    """Every user at the moment of the question, as an example without a target."""
    histories = [state.history(str(user)) for user in dataset.users]
    sizes = [min(len(history), cap) for history in histories]
    none = np.zeros(0, np.int64)
    return ExampleBatch(
        topic=TOPIC,
        partition=0,
        offset=np.arange(len(histories), dtype=np.int64),
        target=np.zeros(len(histories), np.uint64),
        timestamp=split.asked_ms,
        strong=np.ones(len(histories), np.bool_),
        repeat=np.zeros(len(histories), np.bool_),
        country=[""] * len(histories),
        birth_year=np.zeros(len(histories), np.int16),
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        history_item=np.concatenate(
            [none.astype(np.uint64), *(h.item_keys[:cap] for h in histories)]
        ),
        history_time=np.concatenate([none, *(h.time[:cap] for h in histories)]),
        history_strong=np.concatenate(
            [none.astype(np.bool_), *(h.strong[:cap] for h in histories)]
        ),
    )


def _scorer(bundle: DynamicBundle, dataset: Dataset, asked: ExampleBatch) -> Scorer:
    place = ItemRows(bundle.item_keys)(_catalogue(dataset)["item_key"].to_numpy())
    items = served_vectors(bundle.vectors, bundle.bias)[place]
    popular = np.log1p(bundle.popularity[0])[place]
    keys = ItemRows(bundle.item_keys)
    cap = bundle.history_cap

    def score(users: Rows, rows: Rows) -> Scores:
        known = user_features(pad(asked.take(users), cap, 0), keys, cap)
        scores = bundle.queries(bundle.user_vectors(known)) @ items[rows].T
        without = np.diff(asked.indptr)[users] == 0
        scores[without] = popular[rows]
        return np.asarray(scores)

    return score
