"""One run of the static job: checkpoints or the log in, an announced static bundle out."""

import asyncio
import shutil
from dataclasses import replace

from agents import announce
from agents.outputs import Outputs
from dynamic_layer import state_weights
from segue.replaying import replay
from segue.roles import make_encoder, now_ms
from segue.settings import Settings
from segue.state_folders import found_state, replays
from segue.times import LogPoint
from state import Checkpoints, MergedState, merge_checkpoints
from state.merge import merge_folders
from static_layer import Progress, StaticBundle, build

__all__ = ["run_static_job"]

KEEP_BUNDLES = 3
#: Name of the replay from which a graph is built.
FROM_LOG = "static-build"


async def run_static_job(
    settings: Settings,
    outputs: Outputs,
    *,
    seed: int,
    progress: Progress,
    until: LogPoint | None = None,
) -> StaticBundle:
    """Merge the latest checkpoints, build the bundle, publish and announce it.

    until: build from the log up to this point instead; what came later is left for examples. The
           state that it takes lies in `<data>/replays` meanwhile.
    Raises ValueError when there is no checkpoint, no catalogue, or no event before `until`,
    CorruptArtifact when a partition has no whole checkpoint; with `until` AdminError and
    PositionError too.
    """
    store = settings.store()
    if until is not None:
        await _replay(settings, until, progress)

    def merge_and_build() -> StaticBundle:
        merged = _merged(settings, from_log=until is not None, progress=progress)
        encoder = make_encoder(settings)
        try:
            made = build(merged, settings.static, seed=seed, encoder=encoder, progress=progress)
        finally:
            encoder.close()
        ranking = settings.dynamic.ranking
        if not ranking.enabled:
            return made
        progress("item weights", 0, 1)
        weights = state_weights(merged.co_interactions, made.item_keys, ranking.ease)
        progress("item weights", 1, 1)
        return replace(made, weights=weights)

    try:
        bundle = await asyncio.to_thread(merge_and_build)
    finally:
        if until is not None:
            shutil.rmtree(replays(settings) / FROM_LOG, ignore_errors=True)
    await announce(
        bundle, bundle.name, _numbers(bundle.manifest["metrics"]),
        store=store, scratch=settings.folder / "static", outputs=outputs,
        topics=settings.topics, now_ms=now_ms(), keep=KEEP_BUNDLES,
    )  # fmt: skip
    return bundle


def _numbers(metrics: dict[str, object]) -> dict[str, float]:
    return {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}


def _merged(settings: Settings, *, from_log: bool, progress: Progress) -> MergedState:
    def merging(done: int, total: int) -> None:
        progress("merge", done, total)

    if not from_log:
        return merge_checkpoints(Checkpoints(settings.store()), settings.state, progress=merging)
    with found_state(settings, FROM_LOG) as found:
        return merge_folders(found.folders, settings.state, merging)


async def _replay(settings: Settings, until: LogPoint, progress: Progress) -> None:
    """Read the events up to a point of the log, and all of the catalogue."""

    def reading(partition: int, read: int, total: int) -> None:
        progress(f"read partition {partition}", read, total)

    summary = await replay(
        settings, settings.kafka, FROM_LOG, begin=LogPoint(text="earliest"), end=until,
        replace=True, now_ms=now_ms(), progress=reading, catalogue_to_its_end=True,
    )  # fmt: skip
    if not summary["events"]:
        raise ValueError(
            f"the log holds no event before {until.text}: there is nothing to make a graph of. "
            "Choose a later point; `segue sources check` shows the newest events"
        )
