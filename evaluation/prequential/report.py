"""Rows, days and gains of a replay, with intervals that draw users again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluation.gains import Draws, Gain, interval, paired_gain
from evaluation.prequential.replay import METRICS, Scored
from evaluation.segments import ALL
from evaluation.split import DAY_MS

__all__ = ["DayRow", "Row", "days", "gains", "rows", "within"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table: an arm on the questions of one item type.

    Metrics are means over questions and seeds; `*_ci` are 95 % bootstrap intervals that draw users,
    with all their questions, again. hr_at_10_seeds: the figure of each seed. seconds: answering
    and learning, of all types.
    """

    model: str
    item_type: str
    segment: str
    asked: int
    users: int
    hr_at_10: float
    hr_at_10_ci: tuple[float, float]
    ndcg_at_10: float
    mrr: float
    mrr_ci: tuple[float, float]
    recall_at_100: float
    coverage: float
    hr_at_10_seeds: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class DayRow:
    """HR@10 of an arm on the questions of one UTC day, all types."""

    model: str
    day_ms: int
    asked: int
    hr_at_10: float


def rows(scored: Mapping[str, Mapping[str, Scored]], seed: int, segment: str = ALL) -> list[Row]:
    """Return the rows of all arms and types; segment: name of what was scored."""
    made = []
    for name, types in scored.items():
        for item_type, found in types.items():
            means = {metric: found.values[metric].mean(axis=0) for metric in METRICS}
            draws = Draws(found.users, seed)
            made.append(
                Row(
                    model=name,
                    item_type=item_type,
                    segment=segment,
                    asked=len(found.users),
                    users=len(np.unique(found.users)),
                    hr_at_10_ci=interval(draws.means(means["hr_at_10"])),
                    mrr_ci=interval(draws.means(means["mrr"])),
                    coverage=found.coverage,
                    hr_at_10_seeds=tuple(found.values["hr_at_10"].mean(axis=1).tolist()),
                    seconds=found.seconds,
                    **{metric: float(value.mean()) for metric, value in means.items()},
                )
            )
    return made


def days(scored: Mapping[str, Mapping[str, Scored]]) -> list[DayRow]:
    """Return each arm's HR@10 of every day on which something was asked."""
    made = []
    for name, types in scored.items():
        found = types[ALL]
        hits = found.values["hr_at_10"].mean(axis=0)
        day, place = np.unique(found.at_ms // DAY_MS, return_inverse=True)
        asked = np.bincount(place)
        rate = np.bincount(place, weights=hits) / asked
        made += [
            DayRow(model=name, day_ms=int(d) * DAY_MS, asked=int(n), hr_at_10=float(r))
            for d, n, r in zip(day, asked, rate, strict=True)
        ]
    return made


def within(
    scored: Mapping[str, Mapping[str, Scored]], chosen: npt.NDArray[np.bool_]
) -> dict[str, dict[str, Scored]]:
    """Return what was scored on some of the questions of all types; chosen: bool [q].

    coverage stays that of all questions.
    """
    return {
        name: {
            ALL: replace(
                types[ALL],
                users=types[ALL].users[chosen],
                at_ms=types[ALL].at_ms[chosen],
                values={key: value[:, chosen] for key, value in types[ALL].values.items()},
            )
        }
        for name, types in scored.items()
    }


def gains(
    scored: Mapping[str, Mapping[str, Scored]],
    pairs: Sequence[tuple[str, str]],
    seed: int,
    segment: str = ALL,
) -> list[Gain]:
    """Return what the first of each pair of arms gains over the second, on every type."""
    made = []
    for name, over in pairs:
        for item_type, found in scored[name].items():
            draws = Draws(found.users, seed)
            one, other = (
                scored[arm][item_type].values["hr_at_10"].mean(axis=0) for arm in (name, over)
            )
            if not other.any():
                continue
            gain, ci = paired_gain(one, other, draws)
            made.append(
                Gain(
                    model=name, over=over, item_type=item_type, segment=segment, gain=gain,
                    gain_ci=ci,
                )
            )  # fmt: skip
    return made
