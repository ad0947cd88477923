"""Runs models on a trial: tunes each with the same budget, fits it, measures it, over seeds."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.measure import Measured, Row, measure, summary
from evaluation.model import CannotFit, Model
from evaluation.segments import ALL
from evaluation.trial import Trial, earlier_trial
from static_layer import Progress

__all__ = ["Outcome", "Tried", "configurations", "run"]

#: Decides between configurations: it sees the whole top ten, where HR@10 sees one bit a user.
JUDGED_BY = "ndcg_at_10"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A configuration that tuning tried, and what it reached on the window before the split."""

    settings: Mapping[str, Any]
    ndcg_at_10: float
    hr_at_10: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A model's rows; or why it has none (`skipped`). tried: what tuning saw, best first."""

    model: str
    rows: list[Row]
    tried: list[Tried]
    skipped: str = ""


def run(
    models: Sequence[Model],
    trial: Trial,
    *,
    seeds: Sequence[int],
    budget: int,
    progress: Progress,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Outcome]:
    """Test models one after the other; yields each one's outcome as soon as it is known.

    seeds:  of the models; one that no seed changes is fitted once.
    budget: configurations that tuning may try per model, the default among them; below 2 nothing
            is tuned. Tuning sees the past alone, cut once more as the trial itself was.
    clock:  seconds.
    """
    earlier = earlier_trial(trial) if budget > 1 else None
    for model in models:
        try:
            tried = _tune(model, earlier, budget, seeds[0], progress) if earlier else []
            settings = tried[0].settings if tried else {}
            yield _tested(model, trial, settings, tried, seeds, progress, clock)
        except CannotFit as error:
            yield Outcome(model=model.name, rows=[], tried=[], skipped=str(error))


def configurations(
    space: Mapping[str, Sequence[Any]], budget: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return at most `budget` distinct configurations: the default ({}), then random ones.

    The first value of each setting is its default.

    >>> found = configurations({"a": (1, 2), "b": (3, 4, 5)}, 100, np.random.default_rng(0))
    >>> len(found), found[0], {"a": 1, "b": 3} in found
    (6, {}, False)
    """
    sizes = [len(values) for values in space.values()]
    others = int(np.prod(sizes)) - 1 if sizes else 0
    # Drawn without replacement from the grid, so that a small space is searched in full.
    drawn = 1 + rng.choice(max(others, 1), size=min(max(budget - 1, 0), others), replace=False)
    found: list[dict[str, Any]] = [{}]
    for number in drawn:
        places = np.unravel_index(int(number), sizes)
        found.append(
            {
                name: values[int(place)]
                for (name, values), place in zip(space.items(), places, strict=True)
            }
        )
    return found


def _tune(model: Model, earlier: Trial, budget: int, seed: int, progress: Progress) -> list[Tried]:
    """Try configurations on the earlier trial; best first, the default wins ties."""
    if not model.space:
        return []
    # The model's name is in the seed: its draws do not depend on which others are asked for.
    rng = np.random.default_rng([seed, *model.name.encode()])
    asked = configurations(model.space, budget, rng)
    tried = []
    for number, settings in enumerate(asked, 1):
        found = _once(model, earlier, settings, seed, progress)
        overall = next(m for m in found if (m.item_type, m.segment) == (ALL, ALL))
        values = {name: float(value.mean()) for name, value in overall.values.items()}
        tried.append(
            Tried(settings=settings, ndcg_at_10=values[JUDGED_BY], hr_at_10=values["hr_at_10"])
        )
        progress(f"tune {model.name}", number, len(asked), values)
    return sorted(tried, key=lambda one: -one.ndcg_at_10)


def _once(
    model: Model, trial: Trial, settings: Mapping[str, Any], seed: int, progress: Progress
) -> list[Measured]:
    fitted = model.fit(trial.dataset, trial.past, seed=seed, progress=progress, **settings)
    return measure(fitted, trial, name=model.name, progress=progress)


def _tested(
    model: Model,
    trial: Trial,
    settings: Mapping[str, Any],
    tried: list[Tried],
    seeds: Sequence[int],
    progress: Progress,
    clock: Callable[[], float],
) -> Outcome:
    results, fit_seconds, seconds = [], [], []
    used = seeds if model.seeded else seeds[:1]
    for number, seed in enumerate(used, 1):
        started = clock()
        fitted = model.fit(trial.dataset, trial.past, seed=seed, progress=progress, **settings)
        fit_seconds.append(clock() - started)
        results.append(measure(fitted, trial, name=model.name, progress=progress))
        seconds.append(clock() - started)
        progress(f"test {model.name}", number, len(used))
    rows = summary(
        model.name,
        results,
        seconds=float(np.mean(seconds)),
        fit_seconds=float(np.mean(fit_seconds)),
        seed=trial.settings.seed,
        settings=settings,
    )
    return Outcome(model=model.name, rows=rows, tried=tried)
