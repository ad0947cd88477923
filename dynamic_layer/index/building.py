"""Builds the index of one type's items: which kind it is and how it is searched is measured."""

import logging
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.built import BuiltIndex, Vectors, fill
from dynamic_layer.settings import IndexSettings

logger = logging.getLogger(__name__)

_K = 10
_CHUNK = 65_536
_POINTS_PER_LIST = 64
_TRAINED_ON = 65_536
# Share of the variance that 4-bit codes are made of; the rest is in the candidates' exact scores.
# At 0.93 of it recall needed twice as many candidates, at 0.99 a search took half as long again.
_KEPT_VARIANCE = 0.95
# FAISS' kernels for codes go 16 dimensions at a time: with 129 a search took eight times as long.
_LANES = 16
# From half of the lists on, one list with all items costs no more and misses nothing.
_MOST_PROBES = 0.5
_CANDIDATES = (20, 40, 80, 160, 320)
_CODES = {
    "fp16": faiss.ScalarQuantizer.QT_fp16,
    "int8": faiss.ScalarQuantizer.QT_8bit,
}
# Queries this long make nearest and greatest inner product the same order of lists.
_LONG = 100.0


def build(
    vectors: Vectors,
    rows: NDArray[np.int64],
    settings: IndexSettings,
    *,
    queries: NDArray[np.float32],
    scale: NDArray[np.float32] | None = None,
) -> BuiltIndex:
    """Return an index over some rows.

    queries: f32 [s, d], like those that will come; they choose how many lists are read and how
    many candidates are scored exactly. scale: f32 [d], factors after which all columns of the
    vectors count alike; None where they do.
    """
    if len(rows) <= settings.ivf_above and settings.flat_storage == "float32":
        return on_device(_flat(vectors, rows), settings)
    lists = len(rows) > settings.ivf_above
    storage: str = settings.storage if lists else settings.flat_storage
    if settings.device == "cuda" and storage == "int4":
        storage = "fp16"  # FAISS has the search of four-bit codes for processors alone.
    rng = np.random.default_rng(len(rows))
    sample = vectors(rng.choice(rows, min(_TRAINED_ON, len(rows)), replace=False))
    best = nearest(queries, vectors, rows)
    of_items, of_queries, centre = _codec(sample, storage, scale)
    of_queries *= _LONG / max(1e-12, float(np.linalg.norm(queries @ of_queries, axis=1).mean()))
    coded = np.ascontiguousarray((sample - centre) @ of_items, np.float32)
    probes = 0
    if lists:
        wanted = (queries @ of_queries).astype(np.float32)
        near = np.asarray((vectors(best.ravel()) - centre) @ of_items, np.float32)
        quantizer, probes = _lists(coded, wanted, near, len(rows), settings)
        index = _with_lists(quantizer, coded, storage)
        index.nprobe = probes
    else:
        index = faiss.IndexScalarQuantizer(
            coded.shape[1], _CODES[storage], faiss.METRIC_INNER_PRODUCT
        )
        index.train(coded)
    made = BuiltIndex(
        index=index,
        rows=rows,
        of_items=of_items,
        of_queries=of_queries,
        centre=centre,
        probes=probes,
        candidates=_CANDIDATES[0],
    )
    fill(made, vectors)
    found = measured(made, vectors, queries, best, settings)
    if found.recall >= settings.recall:
        return on_device(found, settings)
    logger.warning(
        "%d items are searched exactly: codes and lists found %.3f of the nearest, not %.3f",
        len(rows),
        found.recall,
        settings.recall,
    )
    return on_device(_flat(vectors, rows), settings)


def folded(
    old: BuiltIndex | None,
    came: NDArray[np.int64],
    removed: NDArray[np.bool_],
    vectors: Vectors,
    settings: IndexSettings,
    *,
    queries: NDArray[np.float32],
    scale: NDArray[np.float32] | None = None,
) -> BuiltIndex | None:
    """Return another index with rows that came and without those removed; None without rows.

    Lists and codes stay as they were trained, as long as the recall can be had with them; how much
    of them is read is measured again.
    """
    rows = came if old is None else np.sort(np.append(old.rows[~removed[old.rows]], came))
    if not len(rows):
        return None
    if old is None or (not old.lists and len(rows) > settings.ivf_above):
        return build(vectors, rows, settings, queries=queries, scale=scale)
    made = old.changed(removed, came, vectors)
    if not made.exact:
        best = nearest(queries, vectors, rows)
        made = measured(made, vectors, queries, best, settings)
        if made.recall < settings.recall:
            return build(vectors, rows, settings, queries=queries, scale=scale)
    return on_device(made, settings)


def on_device(made: BuiltIndex, settings: IndexSettings) -> BuiltIndex:
    """Return the index as the settings' device searches it.

    Raises ValueError for cuda where FAISS was built without it.
    """
    if settings.device == "cpu":
        return made
    if not hasattr(faiss, "StandardGpuResources"):
        raise ValueError(
            "expected a FAISS with CUDA for index.device = cuda (the package faiss-gpu instead of"
            " faiss-cpu, as in the GPU image), got one without"
        )
    gpu: Any = faiss
    resources = gpu.StandardGpuResources()
    return replace(made, searched=(gpu.index_cpu_to_gpu(resources, 0, made.index), resources))


def _flat(vectors: Vectors, rows: NDArray[np.int64]) -> BuiltIndex:
    made = BuiltIndex(index=faiss.IndexFlatIP(vectors(rows[:1]).shape[1]), rows=rows)
    fill(made, vectors)
    return made


def _codec(
    sample: NDArray[np.float32], storage: str, scale: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the maps of items and of queries, f32 [d, r] each, and the centre, f32 [d].

    The inner product of what they give is that of the vectors less the same number for all items.
    Four bits hold a direction's place among sixteen, so every direction has to count alike: the
    main ones, in a random rotation.
    """
    d = sample.shape[1]
    scale = np.ones(d, np.float32) if scale is None else scale
    centre = sample.mean(axis=0)
    basis = np.eye(d, -(-d // _LANES) * _LANES)
    if storage == "int4":
        spread, directions = np.linalg.eigh(np.cov(((sample - centre) * scale).T))
        kept = np.cumsum(spread[::-1]) / max(1e-12, spread.sum())
        wanted = int(np.searchsorted(kept, _KEPT_VARIANCE)) + 1
        r = -(-wanted // _LANES) * _LANES
        rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((r, r)))[0]
        basis = directions[:, ::-1][:, :r] @ rotation[: min(d, r)]
    of_items = np.asarray(scale[:, None] * basis, np.float32)
    of_queries = np.asarray(basis / scale[:, None], np.float32)
    return of_items, of_queries, centre


def _lists(
    coded: NDArray[np.float32],
    queries: NDArray[np.float32],
    near: NDArray[np.float32],
    n: int,
    settings: IndexSettings,
) -> tuple[Any, int]:
    """Return the lists' centres and how many lists have the nearest items of the queries.

    coded: f32 [m, r], items to train with; queries: f32 [s, r]; near: f32 [s * 10, r].
    """
    number = max(1, int(np.sqrt(n)))
    kmeans = faiss.Kmeans(
        coded.shape[1],
        number,
        niter=10,
        seed=1,
        max_points_per_centroid=_POINTS_PER_LIST,
        min_points_per_centroid=1,
    )
    kmeans.train(coded)
    quantizer = faiss.IndexFlatL2(coded.shape[1])
    quantizer.add(np.asarray(kmeans.centroids))
    order = quantizer.search(queries, number)[1]
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(number)[None, :], axis=1)
    of = quantizer.search(np.ascontiguousarray(near), 1)[1].reshape(len(queries), -1)
    needed = np.sort(np.take_along_axis(place, of, axis=1).ravel())
    # Half of what may be missed is left to the codes.
    probes = 1 + int(needed[min(len(needed) - 1, int(len(needed) * (1 + settings.recall) / 2))])
    if probes <= _MOST_PROBES * number:
        return quantizer, probes
    everything = faiss.IndexFlatL2(coded.shape[1])
    everything.add(coded.mean(axis=0, keepdims=True))
    return everything, 1


def _with_lists(quantizer: Any, coded: NDArray[np.float32], storage: str) -> Any:
    d, lists, metric = coded.shape[1], quantizer.ntotal, faiss.METRIC_INNER_PRODUCT
    index: Any
    if storage == "int4":
        index = faiss.IndexIVFPQFastScan(quantizer, d, lists, d, 4, metric)
        index.by_residual = False
        index.pq.cp.min_points_per_centroid = 1
    elif storage == "float32":
        index = faiss.IndexIVFFlat(quantizer, d, lists, metric)
    else:
        index = faiss.IndexIVFScalarQuantizer(quantizer, d, lists, _CODES[storage], metric, False)
    index.train(coded)
    return index


def nearest(
    queries: NDArray[np.float32], vectors: Vectors, rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the ten rows with the greatest inner products, i64 [s, 10]; exact."""
    k = min(_K, len(rows))
    best = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        more, place = faiss.knn(
            queries, vectors(part), min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT
        )
        scores = np.concatenate([scores, more], axis=1)
        best = np.concatenate([best, part[place]], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, order, axis=1)
        best = np.take_along_axis(best, order, axis=1)
    return best


def measured(
    made: BuiltIndex,
    vectors: Vectors,
    queries: NDArray[np.float32],
    best: NDArray[np.int64],
    settings: IndexSettings,
) -> BuiltIndex:
    """Return the index with the fewest candidates, then lists, that reach the recall.

    best: i64 [s, 10], the queries' nearest rows. Sets the lists that are read in FAISS' index,
    so no search may run in it yet. With all of them it may still be below the recall.
    """
    floor = np.einsum("sd,skd->sk", queries, vectors(best)).min(axis=1)
    probes = made.probes
    while True:
        if made.lists:
            made.index.nprobe = probes
        for candidates in _CANDIDATES:
            made = replace(made, candidates=candidates, probes=probes)
            rows = made.search(queries, best.shape[1]).rows
            scores = np.einsum("sd,skd->sk", queries, vectors(np.maximum(rows, 0)))
            # By score, not by row: items that tie with the last one are as good.
            good = (rows >= 0) & (scores >= (floor - 1e-5 * np.abs(floor))[:, None])
            recall = np.minimum(good.sum(axis=1), best.shape[1]).mean() / best.shape[1]
            made = replace(made, recall=float(recall))
            if recall >= settings.recall:
                return made
        if probes >= made.lists:
            return made
        probes = min(made.lists, probes + max(1, probes // 4))
