"""One run of the static job: checkpoints in, an announced static bundle out."""

import asyncio
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from agents import announce
from agents.outputs import Outputs
from segue.roles import make_encoder, now_ms, text_settings
from segue.settings import Settings
from state import Checkpoints, merge_checkpoints
from static_layer import (
    Parallel,
    Progress,
    StaticBundle,
    TextEncoder,
    build_together,
    share_state,
    silent,
)

__all__ = ["help_static_job", "run_static_job"]

KEEP_BUNDLES = 3


async def run_static_job(
    settings: Settings, outputs: Outputs, *, seed: int, progress: Progress
) -> StaticBundle:
    """Merge the latest checkpoints, build the bundle, publish and announce it.

    With `ray.address` set a Ray cluster merges and trains. In the first of several processes
    (see static_layer.process_group) the others have to call `help_static_job`.
    Raises ValueError when there is no checkpoint or no catalogue, CorruptArtifact when a
    partition has no whole checkpoint, ClusterFailed when Ray does not finish.
    """
    on_ray = bool(settings.ray.address)
    job = _on_ray if on_ray else _merge_and_build
    bundle = await asyncio.to_thread(job, settings, seed, progress)
    await announce(
        bundle, bundle.name, _numbers(bundle.manifest["metrics"]),
        store=settings.store(), scratch=settings.folder / "static", outputs=outputs,
        topics=settings.topics, now_ms=now_ms(), keep=KEEP_BUNDLES, published=on_ray,
    )  # fmt: skip
    return bundle


def help_static_job(settings: Settings, *, seed: int) -> None:
    """Take part in a job as a process that is not the first one; nothing is written here."""
    merged = share_state(None, settings.state)
    with closing(make_encoder(settings)) as encoder:
        build_together(merged, settings.static, seed=seed, encoder=encoder, progress=silent)


def _merge_and_build(settings: Settings, seed: int, progress: Progress) -> StaticBundle:
    merged = share_state(
        merge_checkpoints(
            Checkpoints(settings.store()),
            settings.state,
            progress=lambda done, total: progress("merge", done, total),
        ),
        settings.state,
    )
    with closing(make_encoder(settings)) as encoder:
        bundle = build_together(
            merged, settings.static, seed=seed, encoder=encoder, progress=progress
        )
    assert bundle is not None  # noqa: S101 - this is the first process
    return bundle


def _on_ray(settings: Settings, seed: int, progress: Progress) -> StaticBundle:
    if Parallel.here().size > 1:
        raise ValueError("ray.address is set under torchrun: expected one of the two")
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
    text = replace(text, cache=str(Path(text.cache).resolve()))
    url = settings.store().url
    url = url if "://" in url else str(Path(url).resolve())
    return build_on_ray(
        url, settings.state, settings.static, settings.ray,
        seed=seed, encoder=partial(TextEncoder, text), progress=progress,
    )  # fmt: skip


def _numbers(metrics: dict[str, object]) -> dict[str, float]:
    return {k: float(v) for k, v in metrics.items() if isinstance(v, int | float)}
