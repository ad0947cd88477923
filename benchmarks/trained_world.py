"""A world for the console to serve: items in topics, users who keep to a few, towers that learned.

Vectors of texts and of the HGNN lie as `ItemSpace` draws them (its doc has the figures beside those
of trained towers), an item in the same topic in both. A user's events are of one to three topics;
within a topic few items have most events. The towers learn from these until every example was seen
twice, so that users' vectors lie where items are and inverted lists find what they look for; towers
that learned nothing give vectors among which no index finds its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.index_data import ItemSpace
from dynamic_layer import DynamicBundle, DynamicSettings, ExampleBatch, RankingHead, Trainer
from dynamic_layer.lists.list_maker import ListMaker
from state import item_key
from static_layer.hgnn import HGNN
from static_layer.settings import HGNNSettings

__all__ = ["NOW", "StaticItems", "World", "bundle_of", "trainer_of", "with_drawn_head"]

NOW = 1_760_000_000_000
DAY_MS = 86_400_000
TYPES = ("audiobook", "podcast")
TEXT_WIDTH = 384
TOPICS_OF_A_USER = 3
#: Examples of a user: the newest events, each with what the user had before.
EXAMPLES = 6


@dataclass
class StaticItems:
    """A static bundle's columns."""

    item_keys: NDArray[np.uint64]
    item_ids: list[str]
    item_types: list[str]
    languages: list[str | None]
    genres: list[list[str] | None]
    titles: list[str | None]
    text: NDArray[np.float16]
    hgnn: NDArray[np.float32]
    model: Any
    manifest: dict[str, Any]


@dataclass(frozen=True)
class World:
    """items: in topics; histories: rows of items, i64 [users, events], oldest first."""

    items: StaticItems
    histories: NDArray[np.int64]

    @classmethod
    def draw(
        cls, *, items: int, users: int, history: int, seed: int, types: Sequence[str] = TYPES
    ) -> "World":
        """Return a world of this size; equal seeds give equal worlds."""
        rng = np.random.default_rng(seed)
        text, hgnn = (ItemSpace.draw(width, seed) for width in (TEXT_WIDTH, HGNNSettings().output))
        topic = text.topics_of_items(items, rng)
        ids = [f"item-{row}" for row in range(items)]
        type_of = [types[row % len(types)] for row in range(items)]
        static = StaticItems(
            item_keys=np.array(
                [item_key(t, i) for t, i in zip(type_of, ids, strict=True)], np.uint64
            ),
            item_ids=ids,
            item_types=type_of,
            languages=[None] * items,
            genres=[None] * items,
            titles=[f"Item {row}" for row in range(items)],
            text=text.around(topic, rng).astype(np.float16),
            hgnn=hgnn.around(topic, rng),
            model=HGNN(TEXT_WIDTH, len(types), HGNNSettings()).eval(),
            manifest={"name": "drawn", "offsets": {}},
        )
        return cls(static, _histories(topic, users, history, rng))

    @property
    def times(self) -> NDArray[np.int64]:
        """When the events of every user were, i64 [events]: one a day, the last a day ago."""
        return NOW - DAY_MS * np.arange(self.histories.shape[1], 0, -1)


def bundle_of(world: World, seed: int, *, head: bool) -> DynamicBundle:
    """Return the bundle of towers that learned from a world's newest events.

    head: with a ranking head, on drawn item-item weights; it has learned nothing, and costs what
    any other does.
    """
    trainer = trainer_of(world, seed, head=head)
    trainer.train()
    bundle = trainer.publish()
    return with_drawn_head(bundle, seed) if head else bundle


def trainer_of(world: World, seed: int, *, head: bool) -> Trainer:
    """Return a trainer that has a world's newest events to learn from."""
    base = DynamicSettings()
    popularity = replace(base.popularity, weights=(0.5,), half_lives_days=(14.0,))
    ranking = replace(base.ranking, enabled=head)
    settings = replace(base, popularity=popularity, ranking=ranking)
    trainer = Trainer(world.items, settings, seed=seed, clock_ms=lambda: NOW)
    trainer.add(_examples(world))
    return trainer


def with_drawn_head(bundle: DynamicBundle, seed: int) -> DynamicBundle:
    """Return a bundle with drawn item-item weights, and a head that has learned nothing."""
    ranking, rng = DynamicSettings().ranking, np.random.default_rng(seed)
    rows: dict[str, int] = dict.fromkeys(ranking.weights, ranking.ease.kept)
    rows |= dict.fromkeys(ranking.near, ranking.near_items)
    rows["ease"] = ranking.ease.neighbours
    weights = {name: _drawn_weights(len(bundle.item_ids), row, rng) for name, row in rows.items()}
    bundle = replace(bundle, weights=weights)
    names = ListMaker(bundle, ranking).names
    return replace(bundle, head=RankingHead(names, ranking.head.hidden).eval())


def _drawn_weights(items: int, row: int, rng: np.random.Generator) -> sp.csr_array:
    """Return weights of each item with `row` others."""
    other = rng.integers(items, size=(items, row)).astype(np.int32)
    other.sort(axis=1)
    ends = np.arange(items + 1, dtype=np.int32) * row
    values = (rng.random(other.size, dtype=np.float32), other.ravel(), ends)
    return sp.csr_array(values, shape=(items, items))


def _examples(world: World) -> ExampleBatch:
    """The newest events of each user, in the order of their times, and what came before each."""
    users, length = world.histories.shape
    ends = np.repeat(np.arange(length - EXAMPLES, length), users)
    rows = np.tile(np.arange(users), EXAMPLES)
    place = [np.arange(end - 1, -1, -1) for end in ends.tolist()]
    owner = np.repeat(rows, ends)
    before = world.histories[owner, np.concatenate(place)]
    n, t, keys = len(rows), len(owner), world.items.item_keys
    return ExampleBatch(
        topic="segue.events", partition=0, offset=np.arange(n),
        target=keys[world.histories[rows, ends]], timestamp=world.times[ends],
        strong=np.ones(n, np.bool_), repeat=np.zeros(n, np.bool_),
        country=[""] * n, birth_year=np.zeros(n, np.int16),
        indptr=np.concatenate([[0], np.cumsum(ends)]),
        history_item=keys[before], history_time=world.times[np.concatenate(place)],
        history_strong=np.ones(t, np.bool_),
    )  # fmt: skip


def _histories(
    topic: NDArray[np.int64], users: int, length: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    by_topic = np.argsort(topic, kind="stable")
    begins = np.searchsorted(topic[by_topic], np.arange(topic.max() + 2))
    filled = np.flatnonzero(np.diff(begins))
    own = rng.choice(filled, size=(users, TOPICS_OF_A_USER))
    share = rng.dirichlet((1.0, 0.4, 0.2), users).cumsum(axis=1)
    which = (rng.random((users, length, 1)) > share[:, None, :-1]).sum(axis=2)
    chosen = np.take_along_axis(own, which, axis=1)
    sizes = np.diff(begins)[chosen]
    # A few items have most of the events, as everywhere.
    place = (sizes * rng.random((users, length)) ** 3).astype(np.int64)
    return np.asarray(by_topic[begins[chosen] + place], np.int64)
