"""Sets up a replay: the questions, the arms that are asked for, and their rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dynamic_layer.head.live_lists import LiveSettings
from dynamic_layer.settings import HeadSettings
from evaluation.dataset import Dataset
from evaluation.gains import Gain
from evaluation.prequential.answers import Catalogue
from evaluation.prequential.arms import COUNTERS, NEIGHBOURS, Arm, counting_arms
from evaluation.prequential.head_arms import RULES, Fits, HeadArm
from evaluation.prequential.replay import replay
from evaluation.prequential.report import DayRow, Row, best_of, days, gains, rows, within
from evaluation.prequential.strata import strata
from evaluation.prequential.stream import (
    PrequentialSettings,
    boundaries,
    questions,
    span,
    steps,
)
from evaluation.text import TextVectors, has_text
from static_layer import Progress

__all__ = ["ARMS", "Replayed", "SegueSettings", "UnknownArm", "run"]

OURS = "segue/"
ARMS = (*COUNTERS, *NEIGHBOURS, *(OURS + name for name in RULES))
_TEXT_WIDTH = 64


class UnknownArm(ValueError):
    """There is no arm of that name."""


@dataclass(frozen=True, kw_only=True)
class SegueSettings:
    """Our default model in a replay.

    live: candidates and features. head: of the heads. fit_days: how often item-item weights are
    fitted where the model is not frozen. graph_width: of the spectral vectors.
    """

    live: LiveSettings = field(default_factory=LiveSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    fit_days: float = 7.0
    graph_width: int = 32


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay showed; facts: counts and settings by name."""

    facts: dict[str, Any]
    rows: list[Row]
    days: list[DayRow]
    gains: list[Gain]


def run(
    dataset: Dataset,
    settings: PrequentialSettings,
    names: Sequence[str],
    text: TextVectors,
    *,
    seeds: Sequence[int],
    progress: Progress,
    ours: SegueSettings | None = None,
    more: Sequence[Arm] = (),
    pairs: Sequence[tuple[str, str]] = (),
) -> Replayed:
    """Replay a data set with the named arms, and with `more` after them.

    pairs: (arm, other) of `more` whose gains are wanted too.

    Raises UnknownArm, or ValueError for no questions.
    """
    ours = ours or SegueSettings()
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise UnknownArm(f"there is no arm {unknown[0]!r}; known are: {', '.join(ARMS)}")
    begin, at, end = span(dataset.events, settings)
    asked = questions(dataset, settings, begin, at, end)
    catalogue = Catalogue.of(dataset, repeats=settings.repeats)
    half_lives = tuple(sorted({*COUNTERS.values(), *ours.live.demand_half_lives_days}))
    arms = counting_arms(catalogue, half_lives)
    if any(name.startswith(OURS) for name in names):
        arms |= _ours(dataset, catalogue, text, (begin, at), seeds, half_lives, ours)
    edges = boundaries(dataset.events, settings, begin, at, end)
    scored = replay(
        {name: arms[name] for name in names} | {arm.name: arm for arm in more},
        steps(dataset, asked, edges, at, half_lives),
        catalogue,
        total=len(asked),
        progress=progress,
    )
    seed, over = settings.seed, [*_pairs(scored), *pairs]
    groups = {
        name: chosen
        for name, chosen in strata(dataset, asked.where(np.flatnonzero(asked.test))).items()
        if chosen.any()
    }
    parts = {name: within(scored, chosen) for name, chosen in groups.items()}
    return Replayed(
        facts={
            **asdict(settings),
            "warmup_ms": begin,
            "test_ms": at,
            "end_ms": end,
            "questions": int(asked.test.sum()),
            "taught": int((~asked.test).sum()),
            "steps": len(edges) - 1,
            "items": len(dataset.items),
            "strata": {name: int(chosen.sum()) for name, chosen in groups.items()},
        },
        rows=[
            *rows(scored, seed),
            *(row for name, part in parts.items() for row in rows(part, seed, name)),
        ],
        days=days(scored),
        gains=[
            *gains(scored, over, seed),
            *(gain for name, part in parts.items() for gain in gains(part, over, seed, name)),
        ],
    )


def _ours(
    dataset: Dataset,
    catalogue: Catalogue,
    text: TextVectors,
    starts_ms: tuple[int, int],
    seeds: Sequence[int],
    half_lives: tuple[float, ...],
    ours: SegueSettings,
) -> dict[str, Arm]:
    own = has_text(dataset.items)
    vectors = _centred(text() * own[:, None], _TEXT_WIDTH) if own.any() else None
    fits = Fits(catalogue, vectors, graph_width=ours.graph_width)
    return {
        OURS + name: HeadArm(
            name=OURS + name,
            rule=rule,
            catalogue=catalogue,
            fits=fits,
            starts_ms=starts_ms,
            seeds=seeds,
            live=ours.live,
            head=ours.head,
            fit_days=ours.fit_days,
        )
        for name, rule in RULES.items()
    }


def _centred(text: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
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


def _pairs(scored: dict[str, Any]) -> list[tuple[str, str]]:
    """Our arms each over the one before it, and the last over the best of the counts."""
    mine = [OURS + name for name in RULES if OURS + name in scored]
    pairs = list(zip(mine[1:], mine[:-1], strict=True))
    if len(mine) > 2:
        pairs.append((mine[-1], OURS + "daily_retrain"))
    for family in (COUNTERS, NEIGHBOURS):
        known = [name for name in family if name in scored]
        if mine and known:
            pairs.append((mine[-1], best_of(scored, known)))
    return list(dict.fromkeys(pair for pair in pairs if {*pair} <= scored.keys()))
