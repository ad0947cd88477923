"""One run of the static job: checkpoints in, an announced static bundle out."""

import asyncio
from dataclasses import replace

from agents import announce
from agents.outputs import Outputs
from dynamic_layer import state_weights
from segue.roles import make_encoder, now_ms
from segue.settings import Settings
from state import Checkpoints, MergedState, merge_checkpoints
from static_layer import Progress, StaticBundle, build

__all__ = ["run_static_job"]

KEEP_BUNDLES = 3


async def run_static_job(
    settings: Settings, outputs: Outputs, *, seed: int, progress: Progress
) -> StaticBundle:
    """Merge the latest checkpoints, build the bundle, publish and announce it.

    Raises ValueError when there is no checkpoint or no catalogue, CorruptArtifact when a
    partition has no whole checkpoint.
    """
    store = settings.store()

    def merge_and_build() -> StaticBundle:
        def merging(done: int, total: int) -> None:
            progress("merge", done, total)

        merged: MergedState = merge_checkpoints(
            Checkpoints(store), settings.state, progress=merging
        )
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

    bundle = await asyncio.to_thread(merge_and_build)
    await announce(
        bundle, bundle.name, _numbers(bundle.manifest["metrics"]),
        store=store, scratch=settings.folder / "static", outputs=outputs,
        topics=settings.topics, now_ms=now_ms(), keep=KEEP_BUNDLES,
    )  # fmt: skip
    return bundle


def _numbers(metrics: dict[str, object]) -> dict[str, float]:
    return {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
