"""Tables of what workers serve live while the trainer learns, by strata of the questions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.quality.sections import Run, Section

__all__ = ["served_tables"]

Report = Mapping[str, Any]
Row = Mapping[str, Any]


def served_tables(section: Section, known: Sequence[tuple[Run, Report]]) -> Iterator[str]:
    """Yield, for each run, its counts, HR@10 of each arm in each stratum, and the gains."""
    for run, report in known:
        facts = report["trial"]
        yield (
            f"`{run.more}`: {facts['questions']:,} questions in {facts['test_days']:g} days, "
            f"{facts['train_events']:,} events before."
        )
        yield _strata(report, facts["strata"], facts["questions"])
        yield _gains(report, facts["strata"])


def _strata(report: Report, strata: Mapping[str, int], questions: int) -> str:
    """Return HR@10 by arm and stratum: served arms, then the best three of the others."""
    rows = {(row["model"], row["segment"]): row for row in report["rows"]}
    whole = [row for (_, segment), row in rows.items() if segment == "all"]
    served = [row for row in whole if row["served"]]
    others = sorted((row for row in whole if not row["served"]), key=lambda row: -row["hr_at_10"])
    names = ["all", *strata]
    shares = [f"{name} ({strata[name] / questions:.0%})" for name in strata]
    lines = [
        f"| HR@10 | bundles | all (95 %) | {' | '.join(shares)} |",
        "|---" * (3 + len(strata)) + "|",
    ]
    for row in (*served, *others[:3]):
        low, high = row["hr_at_10_ci"]
        cells = [f"{row['hr_at_10']:.4f} ({low:.4f}-{high:.4f})"]
        cells += [f"{rows[row['model'], name]['hr_at_10']:.4f}" for name in names[1:]]
        published = str(1 + row["published"][0]) if row["served"] else ""
        lines.append(f"| `{row['model']}` | {published} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _gains(report: Report, strata: Mapping[str, int]) -> str:
    """Return the paired gains of the arms that learn, on all questions and in each stratum."""
    gains = {
        (gain["model"], gain["over"], gain["segment"]): gain
        for gain in report["gains"]
        if gain["item_type"] == "all" and gain.get("mode") == "live"
    }
    names = ["all", *strata]
    lines = [
        f"| gain in HR@10, paired (95 %) | over | {' | '.join(names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for model, over in dict.fromkeys(key[:2] for key in gains):
        cells = []
        for name in names:
            gain = gains.get((model, over, name))
            if gain is None:
                cells.append("")
                continue
            low, high = gain["gain_ci"]
            cells.append(f"{gain['gain']:+.1%} ({low:+.1%} to {high:+.1%})")
        lines.append(f"| `{model}` | `{over}` | {' | '.join(cells)} |")
    return "\n".join(lines)
