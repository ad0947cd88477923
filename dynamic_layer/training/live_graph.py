"""Item features with the HGNN's vectors of the graph as it is now, for rows that are served.

Training never reads these vectors: a graph with an example's own event tells its target (ADR 5).
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Protocol, cast

import numpy as np
import polars as pl
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from dynamic_layer.counts.live_counts import LiveCounts
from dynamic_layer.counts.state_weights import TOGETHER
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.examples.same_user import added_pairs
from dynamic_layer.items.features import GAIN, ItemFeatures, StaticItems
from dynamic_layer.items.grown_items import GrownItems, cold_vectors
from dynamic_layer.items.trained_items import TrainedItems, turned
from dynamic_layer.optional_settings import LiveGraphSettings
from dynamic_layer.saved import Saved
from static_layer.features import NodeFeatures
from static_layer.graph import HeteroGraph, build_graph
from static_layer.hgnn import HGNN
from static_layer.live_vectors import LiveVectors
from static_layer.settings import GraphSettings

__all__ = ["GraphRound", "LiveGraph"]

logger = logging.getLogger(__name__)


class _CountedItems(StaticItems, Protocol):
    """A static bundle with a model and the counts behind its graph."""

    @property
    def model(self) -> HGNN: ...
    @property
    def counts(self) -> Mapping[str, sp.csr_array]: ...


@dataclass(frozen=True, kw_only=True)
class GraphRound:
    """What taking over the counts of now came to.

    computed: items whose values were computed, summed over the layers; changed: items whose vector
    changed; waiting: items whose new neighbours are not taken over yet; seconds: processor time of
    the calling thread.
    """

    computed: int
    changed: int
    waiting: int
    seconds: float


class LiveGraph:
    """Follows the counts of a static bundle with the examples after it, and the HGNN's vectors.

    An item's vector is the bundle's, moved by what the HGNN makes of the counts of now less what it
    makes of the bundle's counts. Where the bundle's vectors are the HGNN's own (no `static.keep`),
    this is the HGNN's vector of the graph of now. The graph is made by `build_graph`, the vectors
    by the code of batch inference.

    last: what the last call of `features` came to; None before the first.
    """

    def __init__(
        self,
        settings: LiveGraphSettings,
        static: StaticItems,
        *,
        clock_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """static: the bundle, with counts; clock_s: measures rounds."""
        self._settings, self._clock_s = settings, clock_s
        own = static.base if isinstance(static, GrownItems) else static
        self._base = cast(_CountedItems, own)
        self.counts = self._counts_of_base()
        self._vectors: LiveVectors | None = None
        self._before = np.zeros((0, 0), np.float32)  # the HGNN's vectors of the bundle's counts
        self.last: GraphRound | None = None

    @classmethod
    def of(
        cls, settings: LiveGraphSettings, static: StaticItems, *, use_hgnn: bool
    ) -> "LiveGraph | None":
        """Return the live graph of a static bundle; None where it is off or impossible."""
        if not settings.enabled or not use_hgnn:
            return None
        if not getattr(static, "counts", None) or getattr(static, "model", None) is None:
            logger.warning(
                "static bundle %s has no item-item counts: its HGNN vectors stay as they are. It "
                "has them if it is built with dynamic.live_graph.enabled and a ranking head, and "
                "at most dynamic.live_graph.most_counts of them", static.manifest.get("name"),
            )  # fmt: skip
            return None
        return cls(settings, static)

    def add(self, examples: PaddedExamples) -> None:
        """Count the pairs of examples that come after the static bundle's snapshot."""
        self.counts.add(*added_pairs(examples))

    def features(self, items: TrainedItems) -> ItemFeatures:
        """Return the features of items with the vectors of the counts of now.

        Without a limit of new neighbours the same counts give the same vectors, however they came.
        """
        started = self._clock_s()
        order = np.argsort(items.static.item_keys)  # rows of the graph are in order of keys
        if self._vectors is None:
            self._begin()
        live = self._vectors
        assert live is not None  # noqa: S101 - made above
        self.counts.sum()
        changed = live.update(
            self._graph(items.static, self.counts),
            self._nodes(items.static, order),
            most=self._settings.most_items,
        )
        moved = np.empty_like(live.vectors)
        moved[order] = live.vectors
        moved -= self._vectors_before(items.static)
        content = items.features.content.clone()
        rows = torch.from_numpy(np.flatnonzero((moved != 0).any(axis=1)))
        own, gain = content[rows, items.text_width :], float(GAIN)
        now = own / gain + torch.from_numpy(turned(moved[rows.numpy()], items.rotation))
        content[rows, items.text_width :] = gain * torch.nn.functional.normalize(now, dim=1)
        self.last = GraphRound(
            computed=live.computed, changed=len(changed), waiting=live.waiting,
            seconds=self._clock_s() - started,
        )  # fmt: skip
        return replace(items.features, content=content)

    def saved(self) -> Saved:
        """Return the counts; vectors are computed again."""
        return Saved(arrays=self.counts.saved())

    def restore(self, saved: Saved) -> None:
        """Go on from counts that another had on the same static bundle."""
        self.counts = LiveCounts.restored(saved.arrays, self._settings.most_counts)

    def _begin(self) -> None:
        """Compute the vectors of the bundle's own counts."""
        order = np.argsort(self._base.item_keys)
        graph = self._graph(self._base, self._counts_of_base())
        self._vectors = LiveVectors(
            self._base.model, graph, self._nodes(self._base, order),
            threshold=self._settings.threshold,
        )  # fmt: skip
        self._before = np.empty_like(self._vectors.vectors)
        self._before[order] = self._vectors.vectors

    def _counts_of_base(self) -> LiveCounts:
        counts = self._base.counts[TOGETHER]
        return LiveCounts.of(self._base.item_keys, counts, self._settings.most_counts)

    def _graph(self, static: StaticItems, counts: LiveCounts) -> HeteroGraph:
        catalogue = pl.DataFrame(
            {"item_key": static.item_keys, "item_type": list(static.item_types)}
        )
        return build_graph(counts, catalogue, _graph_settings(self._base))

    def _nodes(self, static: StaticItems, order: NDArray[np.int64]) -> NodeFeatures:
        """Return text and structure by row of the graph; new items have no structure yet."""
        own = getattr(self._base, "structure", None)
        width = self._base.model.settings.structure
        structure = np.zeros((len(order), width), np.float32)
        if own is not None:
            structure[: len(own)] = own
        return NodeFeatures(self._base.model, np.asarray(static.text)[order], structure[order])

    def _vectors_before(self, static: StaticItems) -> NDArray[np.float32]:
        """Return the HGNN's vectors before later events, f32 [n, d]: of new items without edges."""
        known = len(self._before)
        if known < len(static.item_keys):
            cold = cold_vectors(self._base.model, np.asarray(static.text)[known:])
            self._before = np.concatenate([self._before, cold])
        return self._before


def _graph_settings(static: StaticItems) -> GraphSettings:
    """Return which counts are edges for the model of a bundle."""
    values = static.manifest.get("settings", {}).get("graph", {})
    known = {field.name for field in fields(GraphSettings)}
    return GraphSettings(**{name: value for name, value in values.items() if name in known})
