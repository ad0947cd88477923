"""The demo's final table, and the same figures as JSON."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segue.screen import marked

__all__ = ["show", "show_people", "write_report"]


def write_report(report: Mapping[str, Any], file: Path) -> None:
    """Write the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the figures as a table."""
    console.print(_system(report))
    console.print(_quality(report))
    if report["dead_letters"]:
        console.print(_dead_letters(report))
    show_people(report["people"], console)


def show_people(people: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print user_id, list, history and recommended (texts, in order) of each user."""
    for person in people:
        console.print(_person(person))


def _system(report: Mapping[str, Any]) -> Table:
    table = Table(title=f"Segue on {report['runs_on']}: {report['data']}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    state, graph, hgnn, live = (report[k] for k in ("state", "graph", "hgnn", "live"))
    balance = report["applied"] + report["dead_lettered"]
    fate = "all accounted for" if balance == report["records_in"] else "SOMETHING IS MISSING"
    edges = ", ".join(f"{name} {count:,}" for name, count in graph["edges"].items())
    rows = {
        "events ingested": f"{report['events']:,} at {report['events_per_second']:,.0f} events/s",
        "records in": f"{report['records_in']:,} = {report['applied']:,} applied + "
        f"{report['dead_lettered']:,} dead letters ({fate})",
        "state": f"{state['histories']:,} histories, {state['pairs']:,} item pairs, "
        f"{state['bytes'] / 2**20:,.0f} MiB on disk",
        "graph": f"{graph['nodes']:,} items; edges: {edges or 'none'}",
        "HGNN": f"{hgnn['epochs']} epochs, loss {_figure(hgnn['loss'])}, "
        f"validation MRR {_figure(hgnn['validation'])}, {hgnn['seconds']:.0f} s"
        + (" (STOPPED BY THE CLOCK)" if hgnn["stopped_by"] == "clock" else "")
        + (", texts by the static model" if report["texts"]["backend"] == "static" else ""),
        "live traffic": f"{live['events']:,} events, {live['faults']} bad records, "
        f"{live['launches']} new items ({live['launched_recommended']} already recommended)",
        "recommendations": f"{report['recommendations']:,} written in live traffic; "
        f"{live['served']:.1%} of {live['active_users']:,} active users served",
        "event to recommendation": ", ".join(
            f"{name} {value:,.0f} ms" for name, value in report["latency_ms"].items()
        )
        or "no user was answered",
        "took": f"{report['seconds']:.0f} s, {report['peak_rss_bytes'] / 2**30:.1f} GiB at most",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _figure(value: float | None) -> str:
    """Format a figure; a graph without edges has no loss."""
    return "none" if value is None else f"{value:.4f}"


def _quality(report: Mapping[str, Any]) -> Table:
    table = Table(title=f"the last {report['test_days']:g} days, never seen in training")
    names = {
        "popularity": "popularity",
        "popularity_recent": "popularity, recent",
        "two_tower": "two-tower",
        "two_tower_hgnn": "two-tower + HGNN",
        "ranking_head": "with ranking head",
    }
    # A head that does not win on held-out examples is left out of the bundle.
    models = [m for m in names if all(m in rates for rates in report["hr_at_10"].values())]
    table.add_column("item type")
    table.add_column("test users", justify="right")
    for model in models:
        table.add_column(f"{names[model]}\nHR@10 (coverage)", justify="right")
    for item_type, rates in report["hr_at_10"].items():
        best = max(rates.values())
        cells = [
            marked(
                "[bold]{}[/] ({})" if rates[m] == best else "{} ({})",
                f"{rates[m]:.3f}",
                f"{report['coverage'][item_type][m]:.0%}",
            )
            for m in models
        ]
        table.add_row(item_type, f"{report['test_users'][item_type]:,}", *cells)
    return table


def _dead_letters(report: Mapping[str, Any]) -> Table:
    table = Table(title="dead letters")
    table.add_column("reason")
    table.add_column("records", justify="right")
    for reason, count in sorted(report["dead_letters"].items()):
        table.add_row(reason, f"{count:,}")
    return table


def _person(person: Mapping[str, Any]) -> Table:
    table = Table(title=f"{person['user_id']} ({person['list']})")
    table.add_column("history, newest first")
    table.add_column("recommended, best first")
    length = max(len(person["history"]), len(person["recommended"]))
    for place in range(length):
        table.add_row(
            person["history"][place] if place < len(person["history"]) else "",
            person["recommended"][place] if place < len(person["recommended"]) else "",
        )
    return table
