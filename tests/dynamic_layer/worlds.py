"""A small world for these tests: items with hidden topics, users who like one or two of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer import (
    AdoptionSettings,
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    LossSettings,
    PaddedExamples,
    PopularitySettings,
    ReplaySettings,
    TowerSettings,
    UserState,
)
from dynamic_layer.measure.held_out import target_hits
from state.items import item_key
from static_layer.hgnn import HGNN
from static_layer.settings import HGNNSettings

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000
TOPIC = "segue.events"
TEXT, WIDTH = 24, 16

SMALL = DynamicSettings(
    batch_size=128,
    towers=TowerSettings(layers=(32, 16), dropout=0.0),
    loss=LossSettings(uniform_negatives=64),
    replay=ReplaySettings(capacity=20_000, history_cap=10, epochs=3.0, holdout_share=0.1),
    popularity=PopularitySettings(weights=(0.0, 0.5), half_lives_days=(7.0,)),
    adoption=AdoptionSettings(follow_steps=0),
)


@dataclass
class Items:
    """The fields of a static bundle that the dynamic layer reads."""

    item_keys: NDArray[np.uint64]
    item_ids: list[str]
    item_types: list[str]
    languages: list[str | None]
    genres: list[list[str] | None]
    titles: list[str | None]
    text: NDArray[np.float16]
    hgnn: NDArray[np.float32]
    topic: NDArray[np.int64]
    model: HGNN
    manifest: dict[str, Any] = field(default_factory=lambda: {"name": "static-1", "offsets": {}})


def unit(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def make_items(
    n: int = 120,
    topics: int = 6,
    seed: int = 0,
    names: tuple[str, ...] = ("podcast", "audiobook"),
) -> Items:
    """Items whose HGNN vector tells their topic plainly and whose text hardly does."""
    rng = np.random.default_rng(seed)
    topic = np.arange(n) % topics
    ids = [f"i{row}" for row in range(n)]
    types = [names[row // topics % len(names)] for row in range(n)]
    keys = np.array([item_key(t, i) for t, i in zip(types, ids, strict=True)], np.uint64)
    signs = rng.normal(size=(topics, TEXT + WIDTH))
    text = unit(0.4 * signs[topic, :TEXT] + rng.normal(size=(n, TEXT)))
    hgnn = unit(signs[topic, TEXT:] + 0.2 * rng.normal(size=(n, WIDTH)))
    # New items are placed by this network, so that lists depend on its first weights.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HGNN(TEXT, len(names), HGNNSettings(hidden=WIDTH, output=WIDTH)).eval()
    return Items(
        item_keys=keys,
        item_ids=ids,
        item_types=types,
        languages=["en" if row % 3 else None for row in range(n)],
        genres=[["drama", "crime"][: row % 3] or None for row in range(n)],
        titles=[f"Title {row}" for row in range(n)],
        text=text.astype(np.float16),
        hgnn=hgnn,
        topic=topic,
        model=model,
    )


def make_examples(
    items: Items, n: int = 3_000, *, first_offset: int = 0, partition: int = 0, seed: int = 1
) -> ExampleBatch:
    """Events of users who stay with one topic nine times of ten; their histories say which."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(items.topic.max() + 1, size=n)
    by_topic = [np.flatnonzero(items.topic == topic) for topic in range(items.topic.max() + 1)]
    rows = []
    for liked in taste:
        chosen = rng.choice(by_topic[liked], 6, replace=False)
        if rng.random() < 0.1:
            chosen[0] = rng.integers(len(items.topic))
        rows.append(chosen)
    drawn = np.array(rows, np.int64).reshape(n, 6)
    length = rng.integers(0, 6, size=n)
    entry = np.arange(5) < length[:, None]
    timestamp = START_MS + np.sort(rng.integers(30 * DAY_MS, size=n))
    age = np.sort(rng.integers(1, 20 * DAY_MS, size=(n, 5)), axis=1)
    return ExampleBatch(
        topic=TOPIC,
        partition=partition,
        offset=first_offset + np.arange(n),
        target=items.item_keys[drawn[:, 0]],
        timestamp=timestamp,
        strong=rng.random(n) < 0.8,
        repeat=np.zeros(n, np.bool_),
        country=[("", "DE", "US")[row % 3] for row in range(n)],
        birth_year=rng.choice(np.array([0, 1970, 2000], np.int16), n),
        indptr=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        history_item=items.item_keys[drawn[:, 1:]][entry],
        history_time=(timestamp[:, None] - age)[entry],
        history_strong=(rng.random((n, 5)) < 0.7)[entry],
    )


def make_user(items: Items, rows: list[int], *, now_ms: int, country: str = "") -> UserState:
    """A user who streamed the given items, the first one last."""
    return UserState(
        user_id="u",
        history_item=items.item_keys[rows],
        history_time=now_ms - np.arange(1, len(rows) + 1) * DAY_MS,
        history_strong=np.ones(len(rows), np.bool_),
        country=country,
    )


def hit_rate(bundle: DynamicBundle, examples: PaddedExamples) -> float:
    """HR@10 of a bundle's towers."""
    return float(target_hits(bundle, examples).mean())
