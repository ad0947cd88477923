"""The papers' models on a past at hand: popularity, LLM-KNN, HGNN, HGNN-with-users, 2T, 2T-HGNN.

Each is told apart by what it reads, never by how it is trained: the towers of a recipe have the
same examples, budget and seed whether they read text alone, text and HGNN vectors, or text and
two scalars (the control).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dynamic_layer import DynamicBundle, DynamicSettings, ExampleBatch, Trainer
from dynamic_layer.bundles.bundle import served_vectors
from dynamic_layer.examples.from_events import examples_of
from dynamic_layer.examples.ranking import user_features
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from evaluation.baselines import Rows, Scorer, Scores, vector_knn
from evaluation.dataset import Dataset, Interactions
from evaluation.item_graph import (
    ItemGraph,
    Pair,
    Reads,
    Vectors,
    graph_of,
    item_keys,
    scalars,
    vectors_on,
)
from evaluation.split import DAY_MS
from static_layer import Progress, StaticSettings

__all__ = ["Bench", "CatalogueItems", "GraphForm", "People", "Reads", "examples_from", "spread"]

ELSEWHERE = np.float32(-1e9)
"""Score of an item that a model of one type does not know."""
_CHUNK = 65_536


@dataclass(frozen=True, kw_only=True)
class People:
    """What is known of users beside their events: country[n_users], birth_year i16[n_users]."""

    country: npt.NDArray[np.str_]
    birth_year: npt.NDArray[np.int16]

    @classmethod
    def unknown(cls, users: int) -> "People":
        """Nothing is known."""
        return cls(country=np.full(users, ""), birth_year=np.zeros(users, np.int16))


@dataclass(frozen=True, kw_only=True)
class CatalogueItems:
    """The part of a static bundle that the trainer reads, made of a catalogue without a graph.

    The HGNN's place holds `vectors` of any kind, f32 [n, e], or zeros.
    """

    item_keys: npt.NDArray[np.uint64]
    item_ids: Sequence[str]
    item_types: Sequence[str]
    languages: Sequence[str | None]
    genres: Sequence[Sequence[str] | None]
    titles: Sequence[str | None]
    text: npt.NDArray[Any]
    hgnn: npt.NDArray[np.float32]
    manifest: Mapping[str, Any] = field(default_factory=lambda: {"name": "catalogue"})


@dataclass(frozen=True, kw_only=True)
class GraphForm:
    """What an HGNN is made of.

    static:    its settings (graph, model, training), as they are.
    without:   relations left out. users_too: users are nodes.
    until_ms:  the graph has the events before this moment.
    """

    static: StaticSettings
    until_ms: int
    without: tuple[Pair, ...] = ()
    users_too: bool = False


class Bench:
    """Fits models on the events of one past. What was made once is kept: vectors and towers."""

    def __init__(
        self,
        dataset: Dataset,
        text: npt.NDArray[np.float32],
        *,
        at_ms: int,
        people: People,
        progress: Progress,
    ) -> None:
        """dataset: events before `at_ms` alone; text: f32[n_items, d], unit vectors."""
        if len(dataset.events) and int(dataset.events.timestamp.max()) >= at_ms:
            raise ValueError(f"expected events before {at_ms}, the moment of asking")
        self.dataset, self.text, self.at_ms = dataset, text, at_ms
        self._people, self._progress = people, progress
        self._graphs: dict[tuple[object, ...], ItemGraph] = {}
        self._vectors: dict[tuple[object, ...], Vectors] = {}

    @property
    def events(self) -> Interactions:
        """The past."""
        return self.dataset.events

    def without_weak(self) -> "Bench":
        """Return the same past as if there were no weak signals."""
        streams = self.events.where(self.events.strong)
        return self._like(replace(self.dataset, events=streams), self.text)

    def of_type(self, item_type: str) -> tuple["Bench", Rows]:
        """Return the past of one item type alone, and the data set's row of each of its items."""
        rows = self.dataset.rows_of_type(item_type)
        place = np.full(len(self.dataset.items), -1)
        place[rows] = np.arange(len(rows))
        mine = self.events.where(place[self.events.item] >= 0)
        dataset = replace(
            self.dataset,
            items=self.dataset.items[rows],
            events=replace(mine, item=place[mine.item]),
        )
        return self._like(dataset, self.text[rows]), rows

    def _like(self, dataset: Dataset, text: npt.NDArray[np.float32]) -> "Bench":
        return Bench(dataset, text, at_ms=self.at_ms, people=self._people, progress=self._progress)

    def vectors(self, form: GraphForm, seed: int) -> Vectors:
        """Return what an HGNN of this form gives; made once per form and seed."""
        settings = form.static.graph
        graph_key = (settings, form.until_ms, form.without, form.users_too)
        key = (graph_key, form.static.hgnn, form.static.train, seed)
        if key not in self._vectors:
            if graph_key not in self._graphs:
                events = self.events.where(self.events.timestamp < form.until_ms)
                self._graphs[graph_key] = graph_of(
                    self.dataset, events, settings,
                    users_too=form.users_too, without=form.without,
                )  # fmt: skip
            self._vectors[key] = vectors_on(
                self._graphs[graph_key], self.text, form.static, seed=seed, progress=self._progress
            )
        return self._vectors[key]

    def hgnn(self, form: GraphForm, seed: int) -> Scorer:
        """HGNN: dot of the item's vector and the mean of those of the user's items."""
        return vector_knn(self.events, self.vectors(form, seed).items, len(self.dataset.users))

    def hgnn_with_users(self, form: GraphForm, seed: int) -> Scorer:
        """HGNN-with-users: dot of the vectors of two nodes; who is no node scores 0."""
        found = self.vectors(replace(form, users_too=True), seed)
        known = np.bincount(self.events.user, minlength=len(self.dataset.users)) > 0
        users = found.users * known[:, None]

        def score(asked: Rows, items: Rows) -> Scores:
            return np.asarray(users[asked] @ found.items[items].T)

        return score

    def towers(
        self,
        reads: Reads,
        settings: DynamicSettings,
        *,
        examples_from_ms: int,
        seed: int,
        form: GraphForm | None = None,
    ) -> DynamicBundle:
        """Train a two-tower on the events since `examples_from_ms`.

        form: of the HGNN whose vectors are read.
        """
        extra = np.zeros((len(self.dataset.items), 1), np.float32)
        if reads == "hgnn" and form is not None:
            extra = self.vectors(form, seed).items
        elif reads == "control":
            extra = self._control(examples_from_ms)
        catalogue = replace(self.catalogue, hgnn=extra)
        settings = replace(settings, use_hgnn=reads != "text")
        trainer = Trainer(catalogue, settings, seed=seed)
        events = self.events
        first = int(np.searchsorted(events.timestamp, examples_from_ms))
        cap = settings.replay.history_cap
        for start in range(first, len(events), _CHUNK):
            end = min(start + _CHUNK, len(events))
            part = Interactions(
                user=events.user[:end],
                item=events.item[:end],
                timestamp=events.timestamp[:end],
                strong=events.strong[:end],
            )
            trainer.add(self.examples(part, start, cap))
        self._progress("two-tower", 0, 1)
        trainer.train()
        self._progress("two-tower", 1, 1)
        return trainer.publish()

    def two_tower(self, bundle: DynamicBundle, *, popularity: bool = False) -> Scorer:
        """Score by trained towers: affinity, and log recent popularity where asked for."""
        place = ItemRows(bundle.item_keys)(self.catalogue.item_keys)
        bias = bundle.bias if popularity else np.zeros_like(bundle.bias)
        items = served_vectors(bundle.vectors, bias)[place]
        keys, asked = ItemRows(bundle.item_keys), self._asked(bundle)
        cap = bundle.history_cap

        def score(users: Rows, rows: Rows) -> Scores:
            known = user_features(pad(asked.take(users), cap, 0), keys, cap)
            return np.asarray(bundle.queries(bundle.user_vectors(known)) @ items[rows].T)

        return score

    @cached_property
    def catalogue(self) -> CatalogueItems:
        """The items as the trainer reads them, without vectors of a graph."""
        items = self.dataset.items

        def column(name: str, kind: pl.DataType) -> list[str | None]:
            found = items.schema.get(name)
            return items[name].to_list() if found == kind else [None] * len(items)

        genres: list[list[str] | None] = column("genres", pl.List(pl.String()))  # type: ignore[assignment]
        return CatalogueItems(
            item_keys=item_keys(self.dataset),
            item_ids=items["item_id"].to_list(),
            item_types=items["item_type"].to_list(),
            languages=column("language", pl.String()),
            genres=genres,
            titles=column("title", pl.String()),
            text=self.text,
            hgnn=np.zeros((len(items), 1), np.float32),
        )

    def _control(self, until_ms: int) -> npt.NDArray[np.float32]:
        """The control of the items at a moment; see `scalars`."""
        old = self.events.where(self.events.timestamp < until_ms)
        return scalars(np.bincount(old.item, minlength=len(self.dataset.items)))

    def examples(self, events: Interactions, first: int, cap: int) -> ExampleBatch:
        """Return the events from number `first` on as examples; the earlier ones are history."""
        batch = examples_of(
            user=events.user,
            item_key=self.catalogue.item_keys[events.item],
            timestamp=events.timestamp,
            strong=events.strong,
            first=first,
            history_cap=cap,
        )
        return self._named(batch, events.user[first:])

    def _asked(self, bundle: DynamicBundle) -> ExampleBatch:
        """Every user at the moment of asking, as an example whose target is not read."""
        events, users = self.events, np.arange(len(self.dataset.users))
        cap = bundle.history_cap
        batch = examples_of(
            user=np.concatenate([events.user, users]),
            item_key=np.concatenate(
                [self.catalogue.item_keys[events.item], np.zeros(len(users), np.uint64)]
            ),
            timestamp=np.concatenate([events.timestamp, np.full(len(users), self.at_ms)]),
            strong=np.concatenate([events.strong, np.ones(len(users), np.bool_)]),
            first=len(events),
            history_cap=cap,
        )
        return self._named(batch, users)

    def _named(self, batch: ExampleBatch, users: Rows) -> ExampleBatch:
        return replace(
            batch,
            country=self._people.country[users].tolist(),
            birth_year=self._people.birth_year[users],
        )


def spread(scorer: Scorer, rows: Rows, n_items: int) -> Scorer:
    """Make a scorer over all items of one over the items in `rows`; the others come last."""
    place = np.full(n_items, -1)
    place[rows] = np.arange(len(rows))

    def score(users: Rows, items: Rows) -> Scores:
        mine = place[items] >= 0
        scores = np.full((len(users), len(items)), ELSEWHERE, np.float32)
        scores[:, mine] = scorer(users, place[items[mine]])
        return scores

    return score


def examples_from(at_ms: int, days: float) -> int:
    """Return the moment from which events are examples, ms UTC."""
    return at_ms - round(days * DAY_MS)
