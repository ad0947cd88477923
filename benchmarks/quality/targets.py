"""What the project wants of itself on real data, and whether the figures reach it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["TARGETS", "Target", "verdict"]

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """HR@10 of `model` is at least `least`, or `ratio` times that of the best of others.

    over: the others, by the beginnings of their names; () for an absolute target.
    """

    says: str
    section: str
    model: str
    item_type: str = "all"
    segment: str = "all"
    least: float = 0.0
    over: tuple[str, ...] = ()
    ratio: float = 1.0


_BASELINES = ("popularity", "text_knn", "item_cf", "ials", "ease", "lightgcn")

TARGETS = (
    Target(says="at least .490", section="lfm1m", model="segue", least=0.490),
    Target(says="stretch .520", section="lfm1m", model="segue", least=0.520),
    Target(says="above EASE", section="lfm1m", model="segue", over=("ease",)),
    Target(says="at least .098", section="amazon-fk", model="segue", least=0.098),
    Target(says="stretch .110", section="amazon-fk", model="segue", least=0.110),
    Target(
        says="35 % above the best baseline", section="amazon-fk", model="segue",
        over=_BASELINES, ratio=1.35,
    ),
    Target(
        says="above it on food", section="amazon-fk", model="segue", item_type="food",
        over=_BASELINES,
    ),
    Target(
        says="above it on kitchen", section="amazon-fk", model="segue", item_type="kitchen",
        over=_BASELINES,
    ),
    Target(says="at least .316", section="ml-1m", model="sequence_tower", least=0.316),
    Target(says="stretch .330", section="ml-1m", model="sequence_tower", least=0.330),
    Target(says="at least .410", section="lfm1m-served", model="segue", least=0.410),
    Target(says="stretch .430", section="lfm1m-served", model="segue", least=0.430),
    Target(
        says="10 % above the best of ItemCF and bigrams", section="lfm1m-served", model="segue",
        over=("item_cf", "bigrams"), ratio=1.1,
    ),
    Target(says="by day at least .095", section="amazon-fk-served", model="segue", least=0.095),
    Target(
        says="10 % above the best live counter", section="amazon-fk-served", model="segue",
        over=("popularity",), ratio=1.1,
    ),
    Target(
        says="3 % above a daily retrain", section="news-served", model="segue continual",
        over=("segue daily",), ratio=1.03,
    ),
    Target(
        says="25 % above it on items of the day", section="news-served", model="segue continual",
        segment="launched_that_day", over=("segue daily",), ratio=1.25,
    ),
)  # fmt: skip


def verdict(target: Target, rows: Rows) -> tuple[float, float, bool] | None:
    """Return the figure, the figure that it needs, and whether it is reached; None where unknown.

    rows: all of the target's section. Where a model stands in several runs the first counts.
    """
    here = [
        row
        for row in rows
        if (row["item_type"], row["segment"]) == (target.item_type, target.segment)
    ]
    ours = next((row["hr_at_10"] for row in here if row["model"] == target.model), None)
    others = [row["hr_at_10"] for row in here if row["model"].startswith(target.over or ("\0",))]
    if ours is None or (target.over and not others):
        return None
    needed = target.ratio * max(others) if target.over else target.least
    return ours, needed, ours >= needed
