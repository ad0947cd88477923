"""A new HGNN goes on from the last one: its weights, its features' space, its items' vectors.

An HGNN that is trained from nothing puts the same items elsewhere, and a model that learned to read
the old vectors reads the new ones badly. Part of the difference is chance: it comes from the
draw of the first weights and the order of the batches, and an average of the two has less of it.
What it was measured to bring: docs/adr/0023-adopting-a-static-bundle.md.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from state import ArtifactStore, CorruptArtifact
from static_layer.bundle import BundleError, StaticBundle
from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN
from static_layer.procrustes import Matrix, procrustes
from static_layer.settings import HGNNSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a training begins.

    model:     whose weights it begins with; structure: f32[n, ds], the structural features that
               this model learned to read, by row of the new graph; zeros where it had none.
    """

    model: HGNN
    structure: Matrix

    def turned(self, structure: Matrix) -> Matrix:
        """Return new structural features f32[n, ds], turned to where the old ones were.

        Eigenvectors have no sign, and those with like eigenvalues no order.
        """
        both = (np.abs(self.structure).sum(axis=1) > 0) & (np.abs(structure).sum(axis=1) > 0)
        return structure @ procrustes(structure[both], self.structure[both], np.ones(both.sum()))


def last_bundle(store: ArtifactStore) -> StaticBundle | None:
    """Return the newest static bundle of a store; None where there is none that can be read."""
    names = store.names("static")
    with tempfile.TemporaryDirectory(prefix="segue-static-") as folder:
        try:
            return (
                StaticBundle.load(store.fetch("static", names[-1], Path(folder))) if names else None
            )
        except (CorruptArtifact, BundleError) as error:
            logger.warning("the HGNN starts with new weights: bundle %s: %s", names[-1], error)
            return None


def start_of(
    last: StaticBundle, graph: HeteroGraph, settings: HGNNSettings, text_model: str
) -> Start | None:
    """Return where a training on a graph goes on from a bundle; None where it does not fit.

    The types, the shape of the model and the text model must be the same.
    """
    fits = (
        last.structure is not None
        and last.model.settings == settings
        and last.model.folded == graph.folded
        and tuple(sorted(set(last.item_types))) == graph.type_names
        and last.manifest.get("text_model") == text_model
    )
    if last.structure is None or not fits:
        return None
    place = last.rows(graph.item_keys)
    structure = np.zeros((graph.nodes, last.structure.shape[1]), np.float32)
    structure[place >= 0] = last.structure[place[place >= 0]]
    return Start(model=last.model, structure=structure)


def averaged(
    vectors: Matrix, last: StaticBundle, graph: HeteroGraph, share: float
) -> NDArray[np.float32]:
    """Return new unit vectors f32[n, d] with a share of the last bundle's, where it has the item.

    The last vectors are turned into the space of the new ones, in which the model puts items that
    come later. Items that both have met count by the root of their users, the others not at all:
    these have a vector of their text alone, and keep the new one.
    """
    place = last.rows(graph.item_keys)
    users = np.where(place >= 0, np.minimum(graph.users, last.users[place]), 0)
    both = np.flatnonzero(users > 0)
    if not len(both) or not share:
        return vectors
    old = last.hgnn[place[both]]
    old = old @ procrustes(old, vectors[both], np.sqrt(users[both]))
    mixed = share * old + (1 - share) * vectors[both]
    found = vectors.copy()
    found[both] = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-9)
    return found
