"""Sets up a replay: the questions, the arms that are asked for, and their rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.dataset import Dataset
from evaluation.gains import Gain
from evaluation.prequential.answers import Catalogue
from evaluation.prequential.arms import COUNTERS, NEIGHBOURS, Arm, counting_arms
from evaluation.prequential.replay import replay
from evaluation.prequential.report import DayRow, Row, days, gains, rows, within
from evaluation.prequential.strata import strata
from evaluation.prequential.stream import (
    PrequentialSettings,
    questions,
    span,
    steps,
)
from static_layer import Progress

__all__ = ["ARMS", "Replayed", "UnknownArm", "run"]

ARMS = (*COUNTERS, *NEIGHBOURS)


class UnknownArm(ValueError):
    """There is no arm of that name."""


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
    *,
    progress: Progress,
    more: Sequence[Arm] = (),
    pairs: Sequence[tuple[str, str]] = (),
) -> Replayed:
    """Replay a data set with the named arms, and with `more` after them.

    pairs: (arm, other) whose gains are wanted.

    Raises UnknownArm, or ValueError for no questions.
    """
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise UnknownArm(f"there is no arm {unknown[0]!r}; known are: {', '.join(ARMS)}")
    at, end = span(dataset.events, settings)
    asked = questions(dataset, settings, at, end)
    catalogue = Catalogue.of(dataset, repeats=settings.repeats)
    arms = counting_arms(catalogue)
    scored = replay(
        {name: arms[name] for name in names} | {arm.name: arm for arm in more},
        steps(dataset, asked),
        catalogue,
        total=len(asked),
        progress=progress,
    )
    seed = settings.seed
    groups = {name: chosen for name, chosen in strata(dataset, asked).items() if chosen.any()}
    parts = {name: within(scored, chosen) for name, chosen in groups.items()}
    return Replayed(
        facts={
            **asdict(settings),
            "test_ms": at,
            "end_ms": end,
            "questions": len(asked),
            "items": len(dataset.items),
            "strata": {name: int(chosen.sum()) for name, chosen in groups.items()},
        },
        rows=[
            *rows(scored, seed),
            *(row for name, part in parts.items() for row in rows(part, seed, name)),
        ],
        days=days(scored),
        gains=[
            *gains(scored, pairs, seed),
            *(gain for name, part in parts.items() for gain in gains(part, pairs, seed, name)),
        ],
    )
