"""The static job: merged state in, static bundle out."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import polars as pl

from state import MergedState
from static_layer.bundle import FORMAT, StaticBundle, item_frame
from static_layer.graph import build_graph
from static_layer.infer import item_vectors
from static_layer.item_text import catalogue_texts
from static_layer.parallel import Parallel
from static_layer.progress import Progress, silent
from static_layer.settings import (
    GraphSettings,
    HGNNSettings,
    StaticSettings,
    TrainSettings,
)
from static_layer.sharing import encode_together
from static_layer.text import TextEncoder
from static_layer.text_languages import Misread, misread
from static_layer.train import train
from static_layer.tuned_text import TunedText
from static_layer.warm_start import averaged, start_of

logger = logging.getLogger(__name__)


def recipe_of(settings: StaticSettings) -> StaticSettings:
    """Return the settings that the job runs with.

    The recipe `paper` puts the papers' form in the place of graph, hgnn and train, whatever these
    say; of train, only what no result depends on stays as it is set, the clock, and `tune_*`.
    """
    if settings.recipe == "default":
        return settings
    kept = settings.train
    return replace(
        settings,
        graph=GraphSettings(max_degree=0),
        hgnn=HGNNSettings(structure=0, last_activation=True),
        warm_start=False,
        train=TrainSettings(
            epochs=50, patience=10, batch_size=256, learning_rate=1e-3,
            loss="hinge", edge_draw="uniform", in_batch=False, balanced=True, cold_share=0.0,
            max_edges_per_epoch=0,
            tune_text=kept.tune_text, tune_learning_rate=kept.tune_learning_rate,
            tune_texts=kept.tune_texts,
            max_seconds=kept.max_seconds, sampler=kept.sampler, device=kept.device,
        ),
    )  # fmt: skip


def build(
    merged: MergedState,
    settings: StaticSettings,
    *,
    seed: int,
    last: StaticBundle | None = None,
    encoder: TextEncoder | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.time,
) -> StaticBundle:
    """Build a bundle: text vectors, graph, HGNN, item vectors.

    last:    the bundle before, for a warm start.
    encoder: used instead of one made from `settings.text` (it is not closed).
    clock:   seconds since the epoch; names the bundle and measures the stages.
    Raises ValueError for a catalogue without items, and in one of several processes.
    """
    if Parallel.here().size > 1:
        raise ValueError("this is one of several processes: expected a call of build_together")
    bundle = build_together(
        merged, settings, seed=seed, last=last, encoder=encoder, progress=progress, clock=clock
    )
    assert bundle is not None  # noqa: S101 - who is alone is the first
    return bundle


def build_together(
    merged: MergedState,
    settings: StaticSettings,
    *,
    seed: int,
    last: StaticBundle | None = None,
    encoder: TextEncoder | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.time,
) -> StaticBundle | None:
    """Do what `build` does, as one of the processes of the open process group.

    All encode their part of the texts and train together; the first one computes the item
    vectors and returns the bundle, the others return None. All must have the same merged state;
    the first one alone needs the last bundle.
    """
    settings = recipe_of(settings)
    catalogue = merged.catalogue.sort("item_key")
    if not catalogue.height:
        raise ValueError("the catalogue is empty: the static job needs at least one item")
    created_at = int(clock() * 1000)
    seconds: dict[str, float] = {}

    started = clock()
    own_encoder = encoder is None
    encoder = encoder or TextEncoder(settings.text)
    texts, has_text = catalogue_texts(catalogue)
    text = encode_together(encoder, texts, progress, mapped=len(texts) > settings.mapped_above)
    unread = misread_languages(encoder, texts, catalogue)
    if unread is not None and not Parallel.here().rank:
        logger.warning("%s", unread)
    layers, tuned = settings.train.tune_text, None
    if layers:
        tuned = TunedText(encoder, texts, layers, progress)
    del texts
    if own_encoder:
        encoder.close()
    seconds["text"] = clock() - started

    started = clock()
    progress("graph", 0, 1)
    graph = build_graph(merged.co_interactions, catalogue, settings.graph)
    progress("graph", 1, 1, {"nodes": graph.nodes, "edges": sum(graph.edge_counts.values())})
    seconds["graph"] = clock() - started

    start = None
    if last is not None and settings.warm_start and tuned is None:
        start = start_of(last, graph, settings.hgnn, encoder.fingerprint)
    training = train(
        graph, text, settings.hgnn, settings.train,
        seed=seed, start=start, tuned=tuned, progress=progress,
    )  # fmt: skip
    if tuned is not None:
        text = tuned.vectors()
    seconds["train"] = training.seconds
    processes = Parallel.here()
    if processes.rank:
        return None

    started = clock()
    hgnn = item_vectors(
        training.model, graph, training.features, chunk=settings.inference_chunk, progress=progress
    )
    goes_on_from = None if last is None or start is None else last
    if goes_on_from is not None:
        hgnn = averaged(hgnn, goes_on_from, graph, settings.keep)
    seconds["infer"] = clock() - started

    text_model = tuned.fingerprint(encoder.fingerprint) if tuned else encoder.fingerprint
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": f"{created_at:015d}",
        "generation": created_at,
        "created_at": created_at,
        "offsets": {
            topic: {str(partition): offset for partition, offset in partitions.items()}
            for topic, partitions in merged.offsets.items()
        },
        "watermark": merged.watermark,
        "window": asdict(merged.settings.window),
        "seed": seed,
        "settings": asdict(settings),
        "settings_hash": settings_hash(settings),
        "text_model": text_model,
        "text": {**encoder.recipe, "fingerprint": text_model},
        "goes_on_from": None if goes_on_from is None else goes_on_from.name,
        "metrics": {
            "nodes": graph.nodes,
            "edges": graph.edge_counts,
            "epochs": training.epochs,
            "best_epoch": training.best_epoch,
            "loss": _finite(training.loss),
            "validation_mrr": _finite(training.validation_mrr),
            "edges_seen": training.edges_seen,
            "stopped_by": training.stopped_by,
            "text_not_read": unread.share if unread else 0.0,
            "processes": processes.size,
            "seconds": seconds,
        },
    }
    items = item_frame(catalogue, graph.users, has_text)
    model = training.model.cpu()
    return StaticBundle(
        items, text.astype(np.float16, copy=False), hgnn, model, manifest,
        structure=training.structure.astype(np.float16),
    )  # fmt: skip


def misread_languages(
    encoder: TextEncoder, texts: Sequence[str], catalogue: pl.DataFrame
) -> Misread | None:
    """Return the languages of a catalogue that the encoder's model does not read, if any."""
    pieces = encoder.pieces()
    if pieces is None:
        return None
    none: list[str | None] = [None] * catalogue.height
    known = "language" in catalogue.columns
    return misread(pieces, texts, catalogue["language"].to_list() if known else none)


def settings_hash(settings: StaticSettings) -> str:
    """Return 16 hexadecimal digits that change with any setting."""
    canonical = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _finite(value: float) -> float | None:
    """Return the value, None for nan: JSON has no nan."""
    return None if np.isnan(value) else value
