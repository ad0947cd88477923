"""One run of the static job: reads checkpoints or the log, announces a static bundle, counts it."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from agents import announce
from agents.outputs import Outputs
from agents.store_tally import StoreTally
from dynamic_layer import carried, item_counts, near_weights, weights_of
from segue.replaying import replay
from segue.roles import make_encoder, text_settings
from segue.settings import Settings
from segue.state_folders import found_state, replays
from segue.times import LogPoint
from state import LONG, ArtifactStore, Checkpoints, MergedState, merge_checkpoints
from state.merge import merge_folders, with_items
from static_layer import (
    Parallel,
    Progress,
    StaticBundle,
    TextEncoder,
    build_together,
    last_bundle,
    share_state,
    silent,
)
from streams import Log, read_catalogue
from streams.log_record import now_ms

__all__ = ["BuildTally", "help_static_job", "run_static_job"]

logger = logging.getLogger(__name__)

KEEP_BUNDLES = 3
#: Name of the replay from which a graph is built.
FROM_LOG = "static-build"


class _Stopped(Exception):
    """The job was cancelled."""


async def run_static_job(
    settings: Settings,
    outputs: Outputs,
    *,
    seed: int,
    progress: Progress,
    until: LogPoint | None = None,
    store: ArtifactStore | None = None,
    log: Log | None = None,
    clock_ms: Callable[[], int] = now_ms,
    change: Callable[[StaticBundle], StaticBundle] | None = None,
) -> StaticBundle:
    """Merge the latest checkpoints, build the bundle, publish and announce it.

    If `ray.address` is set, a Ray cluster merges and trains. With several processes (see
    static_layer.process_group) the first one calls this function, the others `help_static_job`.
    until: build from the log up to this point instead; later events are left for examples. The
           temporary state is in `<data>/replays`.
    clock_ms: the time of the announcement, ms UTC.
    log: of which the catalogue is read where there are `item_sources`; by default Kafka.
    change: makes another bundle of it before it is published, for controls of an evaluation.
    store: the artifact store; by default that of the settings, with retries for two minutes.
    A cancellation ends the job at its next word of progress; until then its files are needed.
    Raises ValueError when there is no checkpoint, no catalogue, or no event before `until`,
    CorruptArtifact when a partition has no complete checkpoint, StoreUnavailable when the artifact
    store fails for long, ClusterFailed when Ray does not finish; with `until` AdminError and
    PositionError too.
    """
    _require_publishable(settings)
    on_ray = bool(settings.ray.address)
    if on_ray and until is not None:
        raise ValueError("a build from the log runs in this process: expected no ray.address")
    if on_ray and settings.dynamic.ranking.enabled:
        logger.warning(
            "a bundle made on Ray has no item weights: the ranking head uses its other features"
        )
    if until is not None:
        await _replay(settings, until, progress)

    store = store or settings.store(LONG)

    stopped = threading.Event()

    def tell(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        if stopped.is_set():
            raise _Stopped
        progress(stage, done, total, figures)

    items = await _items_of_log(settings, settings.kafka if log is None else log)

    def job() -> StaticBundle:
        if on_ray:
            return _on_ray(settings, seed, tell, items)
        made = _here(settings, store, seed, tell, items, from_log=until is not None)
        return made if change is None else change(made)

    running = asyncio.ensure_future(asyncio.to_thread(job))
    try:
        bundle = await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.gather(running, return_exceptions=True)
        raise
    finally:
        if until is not None:
            shutil.rmtree(replays(settings) / FROM_LOG, ignore_errors=True)
    await announce(
        bundle, bundle.name, _numbers(bundle.manifest["metrics"]),
        store=store, scratch=settings.folder / "static", outputs=outputs,
        topics=settings.topics, now_ms=clock_ms(), keep=KEEP_BUNDLES, published=on_ray,
    )  # fmt: skip
    return bundle


def help_static_job(settings: Settings, *, seed: int) -> None:
    """Take part in a job as a process other than the first; writes nothing."""
    _require_publishable(settings)
    merged = share_state(None, settings.state)
    with closing(make_encoder(settings)) as encoder:
        build_together(merged, settings.static, seed=seed, encoder=encoder, progress=silent)


async def _items_of_log(settings: Settings, log: Log) -> list[dict[str, Any]] | None:
    """Return the live items of all topics; None where checkpoints have them all."""
    if not settings.item_sources:
        return None
    found, _ = await read_catalogue(log, settings.topics, settings.item_sources)
    return [msgspec.to_builtins(item) for item in found if not item.deleted]


def _here(
    settings: Settings,
    store: ArtifactStore,
    seed: int,
    progress: Progress,
    items: Sequence[Mapping[str, Any]] | None,
    *,
    from_log: bool,
) -> StaticBundle:
    merged = _merged(settings, store, from_log=from_log, progress=progress)
    if items is not None:
        merged = with_items(merged, items)
    merged = share_state(merged, settings.state)
    with closing(make_encoder(settings)) as encoder:
        bundle = build_together(
            merged, settings.static, seed=seed, last=last_bundle(store),
            encoder=encoder, progress=progress,
        )  # fmt: skip
    assert bundle is not None  # noqa: S101 - this is the first process
    ranking = settings.dynamic.ranking
    if not ranking.enabled:
        return bundle
    progress("item weights", 0, 1)
    counts = item_counts(merged, bundle.item_keys, ranking)
    weights = weights_of(counts, ranking) | near_weights(bundle, ranking)
    progress("item weights", 1, 1)
    return replace(bundle, weights=weights, counts=carried(counts, settings.dynamic))


def _require_publishable(settings: Settings) -> None:
    """Refuse tuned text encoders: workers encode new items with the original encoder."""
    if settings.static.train.tune_text:
        raise ValueError(
            "static.train.tune_text is for measuring with `segue static compare`: workers "
            "encode new items with the original encoder; set it to 0 to publish a bundle"
        )


def _on_ray(
    settings: Settings,
    seed: int,
    progress: Progress,
    items: Sequence[Mapping[str, Any]] | None,
) -> StaticBundle:
    if Parallel.here().size > 1:
        raise ValueError("ray.address is set under torchrun: expected only one of the two")
    try:
        from static_layer.on_ray import build_on_ray
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ray":
            raise
        raise ValueError(
            "ray.address is set, but Ray is not installed: `pip install 'segue[ray]'`"
        ) from error
    # Paths are to mean the same wherever a worker runs.
    text = text_settings(settings)
    text = replace(
        text,
        cache=str(Path(text.cache).resolve()),
        compiled=str(Path(text.compiled).resolve()),
    )
    url = settings.store().url
    url = url if "://" in url else str(Path(url).resolve())
    return build_on_ray(
        url, settings.state, settings.static, settings.ray,
        seed=seed, encoder=partial(TextEncoder, text), progress=progress, items=items,
    )  # fmt: skip


def _numbers(metrics: dict[str, object]) -> dict[str, float]:
    return {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}


def _merged(
    settings: Settings, store: ArtifactStore, *, from_log: bool, progress: Progress
) -> MergedState:
    def merging(done: int, total: int) -> None:
        progress("merge", done, total)

    if not from_log:
        return merge_checkpoints(Checkpoints(store), settings.state, progress=merging)
    with found_state(settings, FROM_LOG) as found:
        return merge_folders(found.folders, settings.state, merging)


async def _replay(settings: Settings, until: LogPoint, progress: Progress) -> None:
    """Read the events up to a point of the log, and the complete catalogue."""

    def reading(partition: int, read: int, total: int) -> None:
        progress(f"read partition {partition}", read, total)

    summary = await replay(
        settings, settings.kafka, FROM_LOG, begin=LogPoint(text="earliest"), end=until,
        replace=True, now_ms=now_ms(), progress=reading, catalogue_to_its_end=True,
    )  # fmt: skip
    if not summary["events"]:
        raise ValueError(
            f"the log holds no event before {until.text}, so there is no graph to build. That is "
            f"a log time: when the broker stored the record, or the producer's timestamp. Choose a "
            f"later point; for a topic that was filled at once, one within the time of filling"
        )


class BuildTally:
    """Counters of one schedule since its start."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default: a new one)."""
        self.registry = registry = registry or CollectorRegistry()
        self.store = StoreTally(registry)
        self._builds = Counter(
            "segue_static_builds", "Finished builds, by outcome.", ["outcome"], registry=registry
        )
        self._seconds = Gauge(
            "segue_static_build_duration_seconds", "Duration of the last build.", registry=registry
        )
        self._at = Gauge(
            "segue_static_build_timestamp_seconds",
            "Time of the last successful build.",
            registry=registry,
        )
        for outcome in ("succeeded", "failed"):
            self._builds.labels(outcome)

    def ended(self, *, succeeded: bool, seconds: float, now_ms: int) -> None:
        """Count a build."""
        self._builds.labels("succeeded" if succeeded else "failed").inc()
        self._seconds.set(seconds)
        if succeeded:
            self._at.set(now_ms / 1000)
