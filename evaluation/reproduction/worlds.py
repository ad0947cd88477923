"""The data sets of the reproduction, and the budgets with which their rows are made."""

from dataclasses import replace
from datetime import UTC, datetime

from dynamic_layer import DynamicSettings
from dynamic_layer.settings import LossSettings, PopularitySettings, ReplaySettings, TowerSettings
from evaluation.reproduction.rows import WorldPlan, in_papers_form
from static_layer import StaticSettings

__all__ = ["REAL", "SIMULATED", "end_of", "offline_settings", "plan_of"]

SIMULATED = "simulated"
REAL = ("lfm1m", "amazon-fk")
_END = {"lfm1m": "2014-05-04", "amazon-fk": "2014-07-24"}


def offline_settings() -> DynamicSettings:
    """Return the towers' settings for events in memory, without the weight of popularity.

    Narrower than the papers' towers and with more uniform negatives: measured on lfm1m.
    """
    return DynamicSettings(
        batch_size=512,
        towers=TowerSettings(layers=(256, 128), half_lives_days=(5.0, 30.0)),
        loss=LossSettings(uniform_negatives=1_024),
        replay=ReplaySettings(
            history_cap=100, epochs=2.0, holdout_share=0.001, window_days=3_650.0
        ),
        popularity=PopularitySettings(weights=(0.0,), half_lives_days=(7.0,), fit_examples=16),
    )


def plan_of(name: str) -> WorldPlan:
    """Return the plan of a world by name; raises ValueError for another name.

    Epochs are bounded so that a row takes minutes on one core: a step costs nearly the same for
    256 as for 4,096 edges, since both reach most of a small graph.
    """
    if name == SIMULATED:
        return WorldPlan(
            name=name, types=("podcast", "audiobook"), test_days=14.0, example_days=28.0,
            hgnn=_ours(epochs=4, edges=40_000, batch=2_048),
            paper=in_papers_form(StaticSettings(), epochs=4, edges=20_000),
            towers=_towers(), paper_epochs=3.0, weak=True, side_seeds=2,
        )  # fmt: skip
    if name == "lfm1m":
        return WorldPlan(
            name=name, types=("track",), test_days=30.0, example_days=60.0,
            hgnn=_ours(epochs=2, edges=80_000, batch=4_096),
            paper=in_papers_form(StaticSettings(), epochs=2, edges=20_000),
            towers=_towers(), paper_epochs=2.0, side_seeds=1,
        )  # fmt: skip
    if name == "amazon-fk":
        return WorldPlan(
            name=name, types=("kitchen", "food"), test_days=90.0, example_days=180.0,
            hgnn=_ours(epochs=2, edges=80_000, batch=4_096),
            paper=in_papers_form(StaticSettings(), epochs=2, edges=20_000),
            towers=_towers(), paper_epochs=2.0, side_seeds=1,
        )  # fmt: skip
    raise ValueError(f"expected one of {', '.join((SIMULATED, *REAL))}; got {name!r}")


def end_of(name: str) -> int | None:
    """Return the end of a world's data, ms UTC; None for its last event."""
    if name not in _END:
        return None
    return int(datetime.fromisoformat(_END[name]).replace(tzinfo=UTC).timestamp() * 1_000)


def _ours(*, epochs: int, edges: int, batch: int) -> StaticSettings:
    settings = StaticSettings()
    train = replace(
        settings.train, epochs=epochs, max_edges_per_epoch=edges, batch_size=batch, device="cpu"
    )
    return replace(settings, train=train)


def _towers() -> DynamicSettings:
    """The towers of the ranking head, and the grid from which the weight of demand is fitted."""
    towers, served = offline_settings(), DynamicSettings()
    return replace(
        towers,
        replay=replace(towers.replay, holdout_share=served.replay.holdout_share),
        popularity=replace(served.popularity, fit_examples=1_024, fit_items=10_000),
    )
