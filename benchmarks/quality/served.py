"""Tables of what workers serve: arms that learn by strata, arms of the product by tier."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.quality.sections import Run, Section

__all__ = ["arms_tables", "served_tables"]

Report = Mapping[str, Any]
Row = Mapping[str, Any]
_TIERS = ("all", "head", "mid", "tail", "new", "cold")


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
    rows = {
        (row["model"], row["segment"]): row for row in report["rows"] if row["item_type"] == "all"
    }
    whole = [row for (_, segment), row in rows.items() if segment == "all"]
    served = [row for row in whole if row["served"]]
    others = sorted((row for row in whole if not row["served"]), key=lambda row: -row["hr_at_10"])
    names = ["all", *strata]
    shares = [f"{name} ({strata[name] / questions:.0%})" for name in strata]
    sends = any("sent" in row for row in served)
    lines = [
        f"| HR@10 | bundles |{' MB sent |' * sends} all (95 %) | {' | '.join(shares)} |",
        "|---" * (3 + sends + len(strata)) + "|",
    ]
    for row in (*served, *others[:3]):
        low, high = row["hr_at_10_ci"]
        cells = [f"{row['hr_at_10']:.4f} ({low:.4f}-{high:.4f})"]
        cells += [f"{rows[row['model'], name]['hr_at_10']:.4f}" for name in names[1:]]
        published = str(1 + row["published"][0]) if row["served"] else ""
        if sends:
            cells.insert(0, _megabytes(row))
        lines.append(f"| `{row['model']}` | {published} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _megabytes(row: Row) -> str:
    """Return the bytes of bundles, and of changed rows, of an arm's first seed."""
    if not row.get("sent"):
        return ""
    sent = row["sent"][0]
    rows = f" + {sent['row_bytes'] / 1e6:.1f} of rows" if sent["row_bytes"] else ""
    return f"{sent['bundle_bytes'] / 1e6:.1f}{rows}"


def _gains(report: Report, strata: Mapping[str, int]) -> str:
    """Return the paired gains of the arms that learn, on all questions and in each stratum."""
    gains = {
        (gain["model"], gain["over"], gain["segment"]): gain
        for gain in report.get("gains", ())
        if gain["item_type"] == "all" and gain.get("mode") == "live"
    }
    if not gains:  # a single arm
        return ""
    names = ["all", *strata]
    lines = [
        f"| gain in HR@10, paired (95 %) | over | {' | '.join(names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for model, over in dict.fromkeys(key[:2] for key in gains):
        cells = [_gain_cell(gains.get((model, over, name))) for name in names]
        lines.append(f"| `{model}` | `{over}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def arms_tables(section: Section, known: Sequence[tuple[Run, Report]]) -> Iterator[str]:
    """Yield, for each run, its counts, HR@10 of lists at the split by tier, and paired gains."""
    for _, report in known:
        facts = report["trial"]
        yield (
            f"{facts['train_events']:,} events before the split, {facts['test_users']:,} test "
            f"users, {facts['candidates']:,} items ranked."
        )
        rows = {
            (row["model"], row["segment"]): row for row in report["rows"]
            if (row["item_type"], row["label"]) == ("all", "horizon")
        }  # fmt: skip
        users = {segment: row["users"] for (_, segment), row in rows.items()}
        tiers = [tier for tier in _TIERS if tier in users]
        heads = [f"{tier} ({users[tier]:,})" for tier in tiers]
        lines = [f"| HR@10, users | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
        lines += [
            f"| `{model}` | " + " | ".join(f"{rows[model, t]['hr_at_10']:.4f}" for t in tiers)
            + " |"
            for model in dict.fromkeys(model for model, _ in rows)
        ]  # fmt: skip
        yield "\n".join(lines)
        found = [gain for gain in report["gains"] if gain["label"] == "horizon"]
        kinds = [(tier, "all", tier) for tier in tiers]
        types = list(
            dict.fromkeys(gain["item_type"] for gain in found if gain["item_type"] != "all")
        )
        if len(types) > 1:
            kinds += [(f"lists of {name}", name, "all") for name in types]
        gains = {
            (gain["model"], gain["over"], gain["item_type"], gain["segment"]): gain
            for gain in found
        }
        titles = [title for title, _, _ in kinds]
        lines = [f"| gain, paired (95 %) | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
        for model, over in dict.fromkeys((model, over) for model, over, _, _ in gains):
            cells = [_gain_cell(gains.get((model, over, *kind))) for _, *kind in kinds]
            lines.append(f"| `{model}` over `{over}` | {' | '.join(cells)} |")
        yield "\n".join(lines)


def _gain_cell(gain: Row | None) -> str:
    """Return a gain with its interval; nothing where the other arm has no hit."""
    if gain is None:
        return ""
    low, high = gain["gain_ci"]
    return f"{gain['gain']:+.1%} ({low:+.1%} to {high:+.1%})"
