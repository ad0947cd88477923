"""Measures HGNN vectors on a data set: alone, and as input of a two-tower.

Time has three parts: the graph uses events before the two-tower's examples; the examples are before
the split; the test is after it. A graph with the examples' own events would leak the answers to the
towers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from rich.table import Table

from dynamic_layer import DynamicBundle, DynamicSettings, ExampleBatch, Trainer
from dynamic_layer.items.features import UserFeatures
from evaluation import (
    Dataset,
    Protocol,
    Ranker,
    Result,
    Scorer,
    TimeSplit,
    evaluate,
    ranker_of,
    vector_knn,
)
from evaluation.item_graph import co_interactions, item_keys
from state import CATALOGUE_SCHEMA, MergedState, StateSettings
from static_layer import Progress, StaticBundle, StaticSettings, TextEncoder, build

__all__ = ["TrialPlan", "cold_dataset", "item_keys", "run_trial", "static_bundle", "table"]

DAY_MS = 86_400_000
COLD = "cold"
"""Pseudo item type: the items without an event before the split."""

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """Split times and size of the test.

    example_days: the two-tower's examples are the events of this many days before the split; the
                  graph uses the events before them.
    history_cap:  newest entries of a history that the towers read.
    protocol:     see evaluation.Protocol.
    two_tower:    also train the two-tower, with and without the HGNN's vectors.
    """

    example_days: float = 60.0
    history_cap: int = 50
    protocol: Protocol = field(default_factory=lambda: Protocol(max_users=4_000))
    two_tower: bool = True


def static_bundle(
    dataset: Dataset,
    split: TimeSplit,
    plan: TrialPlan,
    settings: StaticSettings,
    *,
    seed: int,
    encoder: TextEncoder,
    progress: Progress,
) -> StaticBundle:
    """Run the static job on the events before the examples."""
    before = split.train.where(split.train.timestamp < _examples_from(split, plan))
    merged = MergedState(
        co_interactions=co_interactions(before, item_keys(dataset)),
        catalogue=catalogue_of(dataset),
        offsets={},
        watermark=-1,
        settings=StateSettings(),
    )
    return build(merged, settings, seed=seed, encoder=encoder, progress=progress)


def run_trial(
    dataset: Dataset,
    split: TimeSplit,
    plan: TrialPlan,
    bundle: StaticBundle,
    *,
    dynamic: DynamicSettings,
    seed: int,
) -> list[Result]:
    """Test text-KNN, HGNN-KNN and the two-towers; items without events form a separate type."""
    row = bundle.rows(item_keys(dataset))
    vectors = {"text-KNN": bundle.text[row].astype(np.float32), "HGNN-KNN": bundle.hgnn[row]}
    results = []
    towers: dict[str, tuple[Scores, Scores]] = {}
    if plan.two_tower:
        examples = _examples(dataset, split, plan)
        for name, use_hgnn in (("two-tower", False), ("two-tower HGNN", True)):
            towers[name] = _trained(bundle, examples, split, row, dynamic, use_hgnn, seed, plan)
    for world in (dataset, cold_dataset(dataset, split)):
        models: dict[str, Ranker] = {
            name: ranker_of(vector_knn(split.train, of_items, len(dataset.users)), world, split)
            for name, of_items in vectors.items()
        }
        for name, pair in towers.items():
            models[name] = ranker_of(_dot(*pair), world, split)
        types = [COLD] if world is not dataset else dataset.item_types
        results += evaluate(models, world, split, item_types=types, protocol=plan.protocol)
    return results


def cold_dataset(dataset: Dataset, split: TimeSplit) -> Dataset:
    """Give items without an event before the split the separate type `cold`."""
    seen = np.zeros(len(dataset.items), dtype=bool)
    seen[split.train.item] = True
    kind = pl.Series("item_type", np.where(seen, "warm", COLD))
    return replace(dataset, items=dataset.items.with_columns(kind))


def _examples_from(split: TimeSplit, plan: TrialPlan) -> int:
    return split.at_ms - round(plan.example_days * DAY_MS)


def catalogue_of(dataset: Dataset) -> pl.DataFrame:
    """Return a data set's items in the format of the state's catalogue."""
    items = dataset.items
    columns = [
        pl.col(name).cast(kind) if name in items.columns else pl.lit(None, kind).alias(name)
        for name, kind in CATALOGUE_SCHEMA.items()
        if name != "item_key"
    ]
    keys = pl.Series("item_key", item_keys(dataset), dtype=pl.UInt64)
    return items.select(columns).with_columns(keys).select(list(CATALOGUE_SCHEMA)).sort("item_key")


def _examples(dataset: Dataset, split: TimeSplit, plan: TrialPlan) -> ExampleBatch:
    """Make an example of each event since the graph's end, with the history before it."""
    events, keys = split.train, item_keys(dataset)
    order = np.lexsort((np.arange(len(events)), events.user))
    user, item, time_ms = events.user[order], events.item[order], events.timestamp[order]
    chosen = np.flatnonzero(time_ms >= _examples_from(split, plan))
    chosen = chosen[np.argsort(time_ms[chosen], kind="stable")]
    starts = np.searchsorted(user, user)
    histories = [_newest_first(item, int(starts[at]), int(at), plan.history_cap) for at in chosen]
    sizes = np.array([len(places) for places in histories], dtype=np.int64)
    places = np.concatenate([np.zeros(0, np.int64), *histories])
    repeat = [item[at] in item[mine] for at, mine in zip(chosen, histories, strict=True)]
    return ExampleBatch(
        topic="trial",
        partition=0,
        offset=np.arange(len(chosen)),
        target=keys[item[chosen]],
        timestamp=time_ms[chosen],
        strong=np.ones(len(chosen), dtype=bool),
        repeat=np.array(repeat, dtype=bool),
        country=[""] * len(chosen),
        birth_year=np.zeros(len(chosen), dtype=np.int16),
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        history_item=keys[item[places]],
        history_time=time_ms[places],
        history_strong=np.ones(len(places), dtype=bool),
    )


def _newest_first(item: Rows, start: int, end: int, most: int) -> Rows:
    """Return places in [start, end), the last one of each item, newest first, at most `most`."""
    # Users who repeat an item have shorter histories than events: look back four times as far.
    places = np.arange(end - 1, max(start, end - 4 * most) - 1, -1)
    _, first = np.unique(item[places], return_index=True)
    return places[np.sort(first)][:most]


def _trained(
    bundle: StaticBundle,
    examples: ExampleBatch,
    split: TimeSplit,
    row: Rows,
    dynamic: DynamicSettings,
    use_hgnn: bool,
    seed: int,
    plan: TrialPlan,
) -> tuple[Scores, Scores]:
    """Train a two-tower; return the vectors of users f32[n, d] and items f32[n_items, d]."""
    trainer = Trainer(bundle, replace(dynamic, use_hgnn=use_hgnn), seed=seed)
    for start in range(0, len(examples), 65_536):
        trainer.add(examples.take(np.arange(start, min(start + 65_536, len(examples)))))
    trainer.train()
    published = trainer.publish()
    return _user_vectors(published, split, row, plan), published.vectors[row]


def _user_vectors(bundle: DynamicBundle, split: TimeSplit, row: Rows, plan: TrialPlan) -> Scores:
    """Return the vectors of all users at the split."""
    events = split.train
    users = int(max(events.user.max(), split.test.user.max())) + 1
    order = np.lexsort((np.arange(len(events)), events.user))
    item, ends = events.item[order], np.cumsum(np.bincount(events.user, minlength=users))
    history = np.full((users, plan.history_cap), -1, dtype=np.int64)
    age_s = np.zeros(history.shape, dtype=np.float32)
    for user, end in enumerate(ends.tolist()):
        places = _newest_first(item, int(ends[user - 1]) if user else 0, end, plan.history_cap)
        history[user, : len(places)] = row[item[places]]
        age_s[user, : len(places)] = (split.at_ms - events.timestamp[order[places]]) / 1000
    torch_of = _tensors(history, age_s)
    return np.concatenate([bundle.user_vectors(part).numpy() for part in torch_of])


def _tensors(history: Rows, age_s: Scores) -> Sequence[UserFeatures]:
    parts = []
    for start in range(0, len(history), 1024):
        rows = torch.from_numpy(history[start : start + 1024])
        parts.append(
            UserFeatures(
                history=rows,
                age_s=torch.from_numpy(age_s[start : start + 1024]),
                strong=rows >= 0,
                country=torch.zeros(len(rows), dtype=torch.int64),
                age=torch.zeros(len(rows), dtype=torch.int64),
            )
        )
    return parts


def _dot(users: Scores, items: Scores) -> Scorer:
    def score(rows: Rows, columns: Rows) -> Scores:
        return np.asarray(users[rows] @ items[columns].T)

    return score


def table(title: str, results: Mapping[int, list[Result]]) -> Table:
    """Return HR@10 by model and item type: mean over seeds, and its standard deviation."""
    shown = Table(title=f"HR@10, {title}, {len(results)} seeds")
    for name in ("item type", "users", "model", "HR@10", "standard deviation"):
        shown.add_column(name, justify="right" if name not in ("item type", "model") else "left")
    found: dict[tuple[str, str], list[Result]] = {}
    for rows in results.values():
        for row in rows:
            if row.segment == "all":
                found.setdefault((row.item_type, row.model), []).append(row)
    for (item_type, model), mine in found.items():
        rates = [row.hr_at_10 for row in mine]
        shown.add_row(
            item_type, f"{mine[0].users:,}", model, f"{np.mean(rates):.4f}",
            f"{np.std(rates, ddof=1):.4f}" if len(rates) > 1 else "-",
        )  # fmt: skip
    return shown
