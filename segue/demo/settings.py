"""Settings of runs that build everything from one history: a window that spans it, one folder."""

from dataclasses import replace
from pathlib import Path

from agents.experiments.arms import ExperimentSettings
from segue.demo.material import Material
from segue.settings import Settings
from state import Window
from static_layer import TrainSettings
from static_layer.ray_settings import RaySettings

__all__ = ["in_one_folder", "spanning"]


def in_one_folder(
    settings: Settings, folder: Path, *, texts: str = "", models: str = ""
) -> Settings:
    """Return settings of a run that keeps its files in a folder and uses no other service.

    Of the sources, the topic stays to which workers write the lists that count as shown.
    texts, models: file of the text vectors and folder of the compiled text model; in `folder` by
    default.
    """
    text = replace(settings.static.text, cache=texts, compiled=models)
    own = tuple(one for one in settings.sources if one.topic == settings.topics.impressions)
    return replace(
        settings, data=str(folder), artifacts="", sources=own, item_sources=(), user_sources=(),
        ray=RaySettings(), experiments=ExperimentSettings(),
        static=replace(settings.static, text=text),
    )  # fmt: skip


def spanning(base: Settings, material: Material, train: TrainSettings, *, seed: int) -> Settings:
    """Return settings whose window spans the material, for roles that share few cores.

    train: of the HGNN.
    """
    bucket_ms, buckets = material.window
    span_days = bucket_ms * buckets / 86_400_000
    return replace(
        base,
        state=replace(base.state, window=Window(bucket_ms=bucket_ms, buckets=buckets)),
        static=replace(base.static, train=train),
        dynamic=replace(base.dynamic, replay=replace(base.dynamic.replay, window_days=span_days)),
        trainer=replace(base.trainer, publish_every_s=15.0, threads=1, seed=seed),
        worker=replace(base.worker, checkpoint_every_s=3_600.0),
    )
