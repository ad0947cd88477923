"""The page of the reproduction: Markdown made of the stored figures, and of nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.reproduction.claims import CLAIMS, PAPER_FIGURES, judge, unified
from evaluation.reproduction.targets import frozen_share, met, targets_of

__all__ = ["page_of"]

Report = Mapping[str, Any]

_HEAD = """# Reproduction: the papers' figures, ours, and whether the direction holds

Made by one command; edit none of it by hand (its words are in `evaluation/reproduction/page.py`,
what is said of the figures in `benchmarks/reproduction/notes.md`):

    segue reproduce --data DATA --page benchmarks/REPRODUCTION.md

The figures lie in `benchmarks/reproduction/`, a file a world; rows that are there for as many seeds
as are asked for (three) are not made again. With `--seeds 1`, which all rows have, the command
writes this page alone, in seconds; without it the rows with one seed get two more. One row:
`segue reproduce WORLD --data DATA --only ROW --again`. `DATA` holds lfm1m/ and amazon-fk/, which
are no part of this repository.

The papers' data are private: what can be reproduced is the direction, never the figure. *minor* is
the papers' audiobooks, *major* their podcasts. HR@10, full ranking by item type, each user's own
items excluded; brackets hold the 95 % bootstrap interval over users, then the least and greatest
seed. Unless a row's name ends in `-demand`, nothing in it knows recent popularity.

`2t-hgnn` reads an HGNN whose graph ends where the towers' examples begin; `own-events` shows what
becomes of it when the graph holds the examples' own events, as in the papers' daily order. Rows
that end in `-paper` are the papers' recipes (hinge, batches of 256, uniform edges; logQ, in-batch
negatives, no recency), everything else is ours. Epochs are bounded (below), so `-paper` rows are
what that recipe reaches in such a budget, not its best. The paper's HGNN-with-users is described
in a line: here users are nodes with edges to what they streamed, beside the items' own edges.
"""


def page_of(reports: Mapping[str, Report], notes: str = "") -> str:
    """Return the page of the worlds that there are figures for. notes: Markdown for its end."""
    parts = [_HEAD]
    for name, report in reports.items():
        parts.append("\n".join(_world(name, report)))
    parts.append("\n".join(_directions(reports)))
    parts.append("\n".join(_targets(reports)))
    if notes:
        parts.append(notes)
    return "\n".join(parts)


def _world(name: str, report: Report) -> Iterator[str]:
    types: list[str] = report["types"]
    yield f"## {name}\n"
    yield (
        f"{report['train_events']:,} events before the split, {report['test_days']:g} days tested, "
        f"{report['test_users']:,} test users, {report['held_out']:,} held-out items, "
        f"{report['candidates']:,} items ranked; the examples are the last "
        f"{report['example_days']:g} days before the split. Types: {', '.join(types)} "
        "(major first). HGNN: at most "
        f"{report['hgnn']['epochs']} epochs of {report['hgnn']['max_edges_per_epoch']:,} edges "
        f"(`-paper`: {report['paper']['epochs']} of {report['paper']['max_edges_per_epoch']:,}); "
        f"the papers' two-tower: {report['paper_epochs']:g} epochs.\n"
    )
    yield f"    segue reproduce {name}" + (" --data DATA" if name != "simulated" else "") + "\n"
    for place, item_type in reversed(list(enumerate(types))):
        role = "minor" if place == 1 else "major"
        single = len(types) == 1
        segments = ("all",) if single else ("warm_users", "cold_users", "all")
        for segment in segments:
            rows = [row for row in report["rows"] if f"{item_type}/{segment}" in row["figures"]]
            rows = [row for row in rows if row["group"] != "daily"]
            if not rows:
                continue
            yield f"**{item_type}, {segment.replace('_', ' ')}**\n"
            yield from _table(rows, item_type, segment, role)
            yield ""
    yield "**Items with a past, cold items among themselves, and tiers of popularity**\n"
    yield from _tiers(report)
    yield ""


def _table(
    rows: Sequence[Mapping[str, Any]], item_type: str, segment: str, role: str
) -> Iterator[str]:
    yield "| row | what | paper | HR@10 | MRR@100 | coverage |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        found = row["figures"][f"{item_type}/{segment}"]
        paper = PAPER_FIGURES.get((row["row"], role, segment))
        yield (
            f"| `{row['row']}` | {row['about']} | {f'{paper:.3f}' if paper else ''} "
            f"| {_shown(found)} | {found['mrr']:.4f} | {found['coverage']:.3f} |"
        )


def _shown(found: Mapping[str, Any]) -> str:
    low, high = found["ci"]
    text = f"{found['hr_at_10']:.4f} ({low:.4f}-{high:.4f}"
    if len(found["by_seed"]) > 1:
        text += f"; {min(found['by_seed']):.4f}..{max(found['by_seed']):.4f}"
    return text + ")"


def _tiers(report: Report) -> Iterator[str]:
    segments = ("warm_items", "cold_items", "head", "mid", "tail")
    yield "| row | type | " + " | ".join(name.replace("_", " ") for name in segments) + " |"
    yield "|---|---|" + "---|" * len(segments)
    for row in report["rows"]:
        if row["group"] != "models":
            continue
        for item_type in report["types"]:
            cells = [row["figures"].get(f"{item_type}/{name}") for name in segments]
            texts = [f"{cell['hr_at_10']:.4f}" if cell else "" for cell in cells]
            yield f"| `{row['row']}` | {item_type} | {' | '.join(texts)} |"


def _directions(reports: Mapping[str, Report]) -> Iterator[str]:
    names = list(reports)
    yield "## Whether the directions hold\n"
    yield (
        "`holds` and `does not hold` where the intervals of the two rows, taken as independent, "
        "leave no doubt of the sign; `as noise` where they do. The seeds and the users are the "
        "same in both rows, so that this is a careful test.\n"
    )
    yield "| the papers say | rows | paper | " + " | ".join(names) + " |"
    yield "|---|---|---|" + "---|" * len(names)
    extra = [claim for report in reports.values() for claim in unified(report["types"])]
    for claim in (*CLAIMS, *dict.fromkeys(extra)):
        verdicts = [judge(claim, report) for report in reports.values()]
        if not any(verdicts):
            continue
        cells = [
            f"{v.said}: {v.figures[0]:.3f} / {v.figures[1]:.3f} ({v.ratio - 1:+.0%})" if v else ""
            for v in verdicts
        ]
        paper = "" if claim.paper is None else f"{claim.paper[0]:.3f} / {claim.paper[1]:.3f}"
        yield (
            f"| {claim.says} | `{claim.better}` / `{claim.worse}` | {paper} | {' | '.join(cells)} |"
        )
    yield ""
    for report in reports.values():
        yield from _frozen(report)


def _frozen(report: Report) -> Iterator[str]:
    """Paper A's third claim: what a frozen HGNN loses against one that is made daily."""
    rows = {row["row"]: row for row in report["rows"] if row["group"] == "daily"}
    days = [name.removeprefix("daily-frozen") for name in rows if name.startswith("daily-frozen")]
    if not days:
        return
    yield "## A frozen HGNN against a daily one\n"
    yield (
        "Paper A: remaking the HGNN daily gains almost nothing where the towers are trained daily. "
        f"{rows['daily-frozen' + days[0]]['about']}; `+N d` is the age of the frozen one's data "
        "against the daily one's.\n"
    )
    yield "| age | type | frozen | daily | frozen / daily |"
    yield "|---|---|---|---|---|"
    for day in days:
        frozen, fresh = rows[f"daily-frozen{day}"], rows[f"daily-fresh{day}"]
        for item_type in report["types"]:
            pair = [row["figures"][f"{item_type}/all"] for row in (frozen, fresh)]
            ratio = pair[0]["hr_at_10"] / pair[1]["hr_at_10"]
            yield f"| {day} | {item_type} | {_shown(pair[0])} | {_shown(pair[1])} | {ratio:.3f} |"
    yield ""


def _targets(reports: Mapping[str, Report]) -> Iterator[str]:
    yield "## The project's own targets\n"
    yield (
        "Decided by the mean over seeds; the intervals are in the tables above. Rows that were not "
        "made are not listed.\n"
    )
    yield "| target | world | type, segment | figures | |"
    yield "|---|---|---|---|---|"
    for target in targets_of(reports):
        found = met(target, reports[target.world])
        if found is None:
            continue
        said, better, worse = found
        change = f" ({better / worse - 1:+.1%})" if worse else ""
        yield (
            f"| {target.says} | {target.world} | {target.item_type}, "
            f"{target.segment.replace('_', ' ')} | `{target.better}` {better:.4f} / "
            f"`{target.worse}` {worse:.4f}{change} | {said} |"
        )
    for name, report in reports.items():
        for item_type, frozen, fresh in frozen_share(report):
            said = "reached" if frozen >= 0.97 * fresh else "missed"
            yield (
                f"| frozen within 3 % of daily HGNN | {name} | {item_type}, all | frozen "
                f"{frozen:.4f} / daily {fresh:.4f} ({frozen / fresh - 1:+.1%}) | {said} |"
            )
    yield ""
