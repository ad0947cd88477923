"""The models behind the features of our ranking head, fitted up to a moment."""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from dynamic_layer.counts.borrowed_weights import borrowed_weights, lenders
from dynamic_layer.counts.item_weights import (
    by_target,
    capped,
    co_interactions,
    cosine_weights,
    ease_weights,
    recent_weights,
    spectral_vectors,
)
from dynamic_layer.counts.moments import Histories, Moment, moment_at
from dynamic_layer.head.features import Sources
from dynamic_layer.training.tower_fits import CatalogueItems, TowerFits
from evaluation.dataset import Dataset, Interactions
from evaluation.segue_settings import SegueSettings
from state.keys import item_key
from static_layer import Progress, TextEncoder, TextSettings, catalogue_texts
from static_layer.progress import silent

Floats = npt.NDArray[np.float32]


def text_vectors(dataset: Dataset, progress: Progress = silent, *, cache: str = "") -> Floats:
    """Return the text vectors of a catalogue, f32 [items, d]; zero where an item has no text."""
    texts, own = catalogue_texts(dataset.items)
    encoder = TextEncoder(TextSettings(max_tokens=64, cache=cache))
    vectors = encoder.encode(texts, progress)
    encoder.close()
    return vectors * own[:, None]


def centred(text: Floats, width: int) -> Floats:
    """Return unit vectors without what all texts share, f32 [items, <= width]; zeros stay zeros.

    Sentence vectors lie in a narrow cone. On amazon-fk's cold items, in the window before the
    test, text-KNN has .018 with them as they are and .034 without their mean. The leading `width`
    principal directions are kept: what reads vectors costs their width.
    """
    own = np.asarray(text.any(axis=1))
    if not own.any():
        return text
    moved = (text - text[own].mean(axis=0)) * own[:, None]
    if width < text.shape[1]:
        _, turn = np.linalg.eigh(moved.T @ moved)
        moved = moved @ turn[:, -width:]
    norm = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(norm, 1e-9), np.float32)


class Fits:
    """The models behind the features, fitted anew for each moment, the towers carried on."""

    def __init__(
        self,
        dataset: Dataset,
        text: Floats | None,
        settings: SegueSettings,
        *,
        seed: int,
    ) -> None:
        """text: f32 [items, d], zero where an item has none; seed: of towers and spectral start."""
        self._dataset, self._settings, self._seed = dataset, settings, seed
        self._text = centred(text, settings.text_width) if text is not None and text.any() else None
        numbers = {name: number for number, name in enumerate(dataset.item_types)}
        names = dataset.items["item_type"].to_list()
        self._type_number = np.array([numbers[name] for name in names], np.int64)
        self._towers = (
            TowerFits(_catalogue(dataset, text), settings.towers, use_hgnn=False, seed=seed)
            if settings.towers is not None and text is not None
            else None
        )

    def at(
        self, events: Interactions, at_ms: int, asked_ms: npt.NDArray[np.int64] | None = None
    ) -> tuple[Moment, Sources]:
        """Return the state and the models of a moment; moments must not go back in time.

        events: those that are known, in order of time; none at or after `at_ms` is read.
        asked_ms: where each user is asked at a time of his own.
        """
        settings = self._settings
        events = events.where(events.timestamp < at_ms)
        n_users, n_items = len(self._dataset.users), len(self._dataset.items)
        moment = moment_at(
            at_ms,
            user=events.user,
            item=events.item,
            timestamp=events.timestamp,
            strong=events.strong,
            asked_ms=asked_ms,
            n_users=n_users,
            n_items=n_items,
            half_lives_days=settings.features.demand_half_lives_days,
        )
        histories = _newest(moment.histories, settings.history_cap)
        ones = np.ones(len(histories.item), np.float32)
        shape = (n_users, n_items)
        history = sp.csr_array((ones, histories.item, histories.indptr), shape=shape)
        counts = capped(co_interactions(history), settings.ease.degree_cap)
        cosine = cosine_weights(counts)
        weights = {}
        if "ease" in settings.weights:
            weights["ease"] = ease_weights(counts, settings.ease)
        if "cosine" in settings.weights:
            weights["cosine"] = by_target(cosine, settings.cosines)
        if "recent" in settings.weights:
            recency = histories.recency(settings.recent_half_life_days)
            lately = sp.csr_array((recency, histories.item, histories.indptr), shape=shape)
            weights["recent"] = recent_weights(history, lately, settings.cosines)
        traits = {}
        if "borrowed" in settings.weights and self._text is not None:
            lent = lenders(self._text, counts.diagonal() > 0, self._type_number)
            weights["borrowed"] = borrowed_weights(lent, cosine, settings.cosines)
            halves = settings.features.demand_half_lives_days
            demand = np.log(lent @ moment.demand + np.float32(settings.features.smoothing))
            # Every second half-life: neighbours' demand is a coarse figure.
            traits = {f"lent@{halves[k]:g}d": demand[:, k] for k in range(1, len(halves), 2)}
        vectors = {}
        if "text" in settings.vectors and self._text is not None:
            vectors["text"] = self._text
        if "graph" in settings.vectors:
            vectors["graph"] = spectral_vectors(counts, settings.graph_width, seed=self._seed)
        towers = None
        if self._towers is not None:
            towers = self._towers.at(
                moment,
                user=events.user,
                item=events.item,
                timestamp=events.timestamp,
                strong=events.strong,
            )
        return moment, Sources(
            type_number=self._type_number,
            types=len(self._dataset.item_types),
            weights=weights,
            vectors=vectors,
            towers=towers,
            traits=traits,
        )


def _newest(histories: Histories, k: int) -> Histories:
    size = np.diff(histories.indptr)
    place = np.arange(len(histories.item)) - np.repeat(histories.indptr[:-1], size)
    return histories.where(place < k)


def _catalogue(dataset: Dataset, text: Floats) -> CatalogueItems:
    ids, types = (dataset.items[name].to_list() for name in ("item_id", "item_type"))
    none = [None] * len(ids)
    return CatalogueItems(
        item_keys=np.array([item_key(t, i) for t, i in zip(types, ids, strict=True)], np.uint64),
        item_ids=ids,
        item_types=types,
        languages=none,
        genres=none,
        titles=none,
        text=text,
        hgnn=np.zeros((len(ids), 1), np.float32),
    )
