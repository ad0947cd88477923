"""Runs the rows of the reproduction on a data set and returns plain figures, ready for JSON."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.dataset import Dataset
from evaluation.measure import Row, measure, summary
from evaluation.reproduction.models import Bench, GraphForm, People, examples_from
from evaluation.reproduction.rows import Fitter, RowPlan, WorldPlan, rows_of
from evaluation.split import DAY_MS
from evaluation.text import TextVectors
from evaluation.trial import Trial, TrialSettings, make_trial
from static_layer import Progress

__all__ = ["DAILY", "World", "make_world", "names_of", "run_rows"]

DAILY = ("daily-frozen", "daily-fresh")
"""Rows of the third claim: a frozen HGNN, one trained each day; the towers are new in both."""
_AGES_DAYS, _DAILY_TEST_DAYS = (1.0, 5.0, 9.0), 3.0
_SEGMENTS = ("all", "warm_users", "cold_users", "warm_items", "cold_items", "head", "mid", "tail")


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set with its plan and trial.

    dataset: all its events, those of the test too: only the daily rows, which go through the test
    days one after the other, read them, and each of their days only what came before it.
    """

    plan: WorldPlan
    dataset: Dataset
    people: People
    trial: Trial
    text: TextVectors
    progress: Progress


def make_world(
    plan: WorldPlan,
    dataset: Dataset,
    text: TextVectors,
    *,
    end_ms: int | None,
    users: int,
    people: People,
    progress: Progress,
) -> World:
    """Split a data set. end_ms: end of the data; users: tested, a sample, 0 for all."""
    settings = TrialSettings(test_days=plan.test_days, end_ms=end_ms, users=users)
    trial = make_trial(dataset, settings, text)
    return World(
        plan=plan, dataset=dataset, people=people, trial=trial, text=text, progress=progress
    )


def names_of(plan: WorldPlan) -> set[str]:
    """Return the names of all rows of a world."""
    names = {row.name for row in rows_of(plan)}
    if plan.weak:
        names |= {f"{kind}+{age:g}d" for kind in DAILY for age in _AGES_DAYS}
    return names


def run_rows(
    world: World,
    seeds: Sequence[int],
    *,
    wanted: Callable[[str], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[dict[str, Any]]:
    """Yield the figures of each wanted row as soon as they are known. clock: seconds."""
    fitter = Fitter(bench=_bench(world, world.trial), plan=world.plan)
    for row in rows_of(world.plan):
        if wanted(row.name):
            yield _tested(world, fitter, row, seeds, clock)
    if any(wanted(name) for name in names_of(world.plan) if name.startswith(DAILY)):
        yield from _daily(world, seeds, clock)


def _bench(world: World, trial: Trial) -> Bench:
    return Bench(
        trial.dataset,
        world.text(),
        at_ms=trial.past.at_ms,
        people=world.people,
        progress=world.progress,
    )


def _tested(
    world: World,
    fitter: Fitter,
    row: RowPlan,
    seeds: Sequence[int],
    clock: Callable[[], float],
) -> dict[str, Any]:
    used = list(seeds[: row.seeds or None])
    begun = clock()
    measured = [
        measure(row.fit(fitter, seed), world.trial, name=row.name, progress=world.progress)
        for seed in used
    ]
    rows = summary(row.name, measured, seconds=0.0, fit_seconds=0.0, seed=0, settings={})
    return _figures(row.name, row.about, row.group, rows, used, clock() - begun, most=row.seeds)


def _figures(
    name: str,
    about: str,
    group: str,
    rows: Sequence[Row],
    seeds: Sequence[int],
    seconds: float,
    *,
    most: int = 0,
) -> dict[str, Any]:
    return {
        "row": name,
        "about": about,
        "group": group,
        "most_seeds": most,
        "seeds": list(seeds),
        "seconds": round(seconds),
        "figures": {
            f"{row.item_type}/{row.segment}": {
                "users": row.users,
                "hr_at_10": round(row.hr_at_10, 5),
                "ci": [round(bound, 5) for bound in row.hr_at_10_ci],
                "by_seed": [round(value, 5) for value in row.hr_at_10_seeds],
                "mrr": round(row.mrr, 5),
                "coverage": round(row.coverage, 4),
            }
            for row in rows
            if row.segment in _SEGMENTS
        },
    }


def _daily(
    world: World, seeds: Sequence[int], clock: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """Go through some of the test days; the towers are trained again for each of them.

    Their examples move along with the day. The fresh HGNN's graph does too; the frozen one's ends
    where it ended at the split. Every day has a test of its own, whose users count each.
    """
    first_ms = world.trial.past.at_ms
    frozen_ms = examples_from(first_ms, world.plan.example_days)
    rows: dict[str, list[list[Row]]] = {name: [] for name in DAILY}
    begun = clock()
    for age in _AGES_DAYS:
        end_ms = first_ms + round((age + _DAILY_TEST_DAYS) * DAY_MS)
        settings = replace(world.trial.settings, end_ms=end_ms, test_days=_DAILY_TEST_DAYS)
        trial = make_trial(world.dataset, settings, world.text)
        fitter = Fitter(bench=_bench(world, trial), plan=world.plan)
        fresh = fitter.form(whole=False)
        forms: Mapping[str, GraphForm] = {
            "daily-frozen": replace(fresh, until_ms=frozen_ms),
            "daily-fresh": fresh,
        }
        side = seeds[: world.plan.side_seeds]
        for name, form in forms.items():
            measured = [
                measure(
                    fitter.scorer(fitter.towers("hgnn", seed, form)),
                    trial,
                    name=name,
                    progress=world.progress,
                )
                for seed in side
            ]
            rows[name].append(
                summary(name, measured, seconds=0.0, fit_seconds=0.0, seed=0, settings={})
            )
    for name, days in rows.items():
        about = f"2t-hgnn over {len(days)} tests of {_DAILY_TEST_DAYS:g} days, the HGNN " + (
            "made once" if name == DAILY[0] else "made again for each"
        )
        for age, found in zip(_AGES_DAYS, days, strict=True):
            of_day = f"{name}+{age:g}d"
            yield _figures(
                of_day, about, "daily", found, side, (clock() - begun) / 6, most=len(side)
            )
