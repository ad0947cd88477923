"""The Markdown of the figures: a table per section, then what is said of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.sections import SIMULATED, Run, Section
from benchmarks.quality.served import arms_tables, served_tables
from benchmarks.quality.targets import TARGETS, verdict

__all__ = ["command_of", "options_of", "page_of"]

Report = Mapping[str, Any]
Row = Mapping[str, Any]
_HEAD = "| model | seeds | HR@10 (95 %) | NDCG@10 | MRR@100 | Recall@100 | coverage | s |"
_RULE = "|---|---|---|---|---|---|---|---|"


def page_of(sections: Sequence[Section], reports: Mapping[str, Report], notes: Path) -> str:
    """Return a page of sections whose runs have reports, by name; the others are named as missing.

    notes: folder with `introduction-PAGE.md` and `SECTION.md`, words that stand beside figures.
    """
    parts = [_said(notes, f"introduction-{sections[0].page}"), _targets(sections, reports)]
    for section in sections:
        parts.append(f"## {section.title}")
        parts.append(_commands(section, reports))
        known = [(run, reports[run.name]) for run in section.runs if run.name in reports]
        if known:
            tables = served_tables if section.served else _ranking
            tables = arms_tables if section.arms else tables
            parts.extend(tables(section, known))
        missing: dict[str, list[str]] = {}
        for run in section.runs:
            if run.name not in reports:
                missing.setdefault(run.more, []).extend(run.models.split(","))
        for more, models in missing.items():
            names = "the arms" if section.arms else ", ".join(f"`{name}`" for name in models)
            parts.append(f"**Not measured yet{f', `{more}`' if more else ''}:** {names}.")
        parts.append(_said(notes, section.name))
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_of(section: Section, reports: Mapping[str, Report]) -> list[Row]:
    """Return all rows of a section."""
    return [row for run in section.runs for row in reports.get(run.name, {}).get("rows", [])]


def _targets(sections: Sequence[Section], reports: Mapping[str, Report]) -> str:
    lines = ["| target | HR@10 of | needed | reached |  |", "|---|---|---|---|---|"]
    for target in TARGETS:
        section = next((one for one in sections if one.name == target.section), None)
        if section is None:
            continue
        found = verdict(target, rows_of(section, reports))
        where = " ".join(x for x in (target.item_type, target.segment) if x != "all")
        whom = f"`{target.model}`{', ' + where if where else ''}"
        if found is None:
            lines.append(f"| {section.name}: {target.says} | {whom} | | | not measured |")
            continue
        ours, needed, reached = found
        mark = "reached" if reached else "**missed**"
        lines.append(
            f"| {section.name}: {target.says} | {whom} | {needed:.4f} | {ours:.4f} | {mark} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def _commands(section: Section, reports: Mapping[str, Report]) -> str:
    """What made the figures that there are, and would make the others."""
    commands = [
        *SIMULATED.get(section.data, ()),
        *(
            reports.get(run.name, {}).get("command") or command_of(section, run)
            for run in section.runs
        ),
    ]
    return "\n".join(f"    {command}" for command in commands)


def options_of(section: Section, run: Run) -> str:
    """Return what stands behind the files in the command of a run."""
    parts = [section.options, run.more, f"--seeds {run.seeds}" if run.seeds > 1 else ""]
    return " ".join(part for part in (*parts, f"--models {run.models}") if part)


def command_of(section: Section, run: Run) -> str:
    """Return the command of a run, the data set's files by its short name."""
    return f"segue evaluate {section.data} {options_of(section, run)}"


def _ranking(section: Section, known: Sequence[tuple[Run, Report]]) -> Iterator[str]:
    facts = known[0][1]["trial"]
    yield (
        f"{facts['train_events']:,} events to train, {facts['test_users']:,} test users, "
        f"{facts['held_out']:,} held-out items, {facts['candidates']:,} items ranked."
    )
    rows = [row for _, report in known for row in report["rows"]]
    types = list(dict.fromkeys(row["item_type"] for row in rows))
    shown = ["all"] if len(types) == 2 else types  # a single type says what all say
    for item_type in shown:
        yield from _table(rows, item_type, "all", "" if len(shown) == 1 else item_type)
    if section.cold:
        yield from _table(rows, "all", "cold_items", "Cold items, ranked among cold items")
    if section.tiers:
        yield _tiers(rows)


def _table(rows: Sequence[Row], item_type: str, segment: str, title: str) -> Iterator[str]:
    here = [row for row in rows if (row["item_type"], row["segment"]) == (item_type, segment)]
    if not here:
        return
    if title:
        yield f"**{title}** ({here[0]['users']:,} users)"
    lines = [_HEAD, _RULE]
    lines += [
        f"| `{row['model']}` | {_seeds(row)} | {_hits(row)} | {row['ndcg_at_10']:.4f} | "
        f"{row['mrr']:.4f} | {row['recall_at_100']:.4f} | {row['coverage']:.3f} | "
        f"{row['seconds']:.0f} |"
        for row in sorted(here, key=lambda row: -row["hr_at_10"])
    ]
    yield "\n".join(lines)


def _tiers(rows: Sequence[Row]) -> str:
    tiers = ("head", "mid", "tail")
    found = {(row["model"], row["segment"]): row for row in rows if row["item_type"] == "all"}
    lines = ["| HR@10 on held-out items of the | head | mid | tail |", "|---|---|---|---|"]
    for model in dict.fromkeys(row["model"] for row in rows):
        values = [found.get((model, tier)) for tier in tiers]
        cells = " | ".join(f"{row['hr_at_10']:.4f}" if row else "" for row in values)
        lines.append(f"| `{model}` | {cells} |")
    return "\n".join(lines)


def _hits(row: Row) -> str:
    low, high = row["hr_at_10_ci"]
    return f"{row['hr_at_10']:.4f} ({low:.4f}-{high:.4f})"


def _seeds(row: Row) -> str:
    seeds = row["hr_at_10_seeds"]
    return f"{len(seeds)} ({min(seeds):.4f}..{max(seeds):.4f})" if len(seeds) > 1 else "1"


def _said(notes: Path, name: str) -> str:
    file = notes / f"{name}.md"
    return file.read_text().strip() if file.exists() else ""
