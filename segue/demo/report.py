"""The final tables of a demo and of a shop's demo, and the same figures as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segue.demo.shop_lists import ALLOWED_MS
from segue.screen import marked

__all__ = ["show", "show_people", "show_shop", "write_report"]

#: Item types with a row of their own, and the test users without which a type has none: a rate of
#: fewer users says little.
ROWS, FEW_USERS = 10, 50


def write_report(report: Mapping[str, Any], file: Path) -> None:
    """Write the figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1) + "\n")


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print people and their lists, how good lists are, and then figures of the system."""
    show_people(report["people"], console)
    console.print(_quality(report))
    console.print(_system(report))
    if report["dead_letters"]:
        console.print(_dead_letters(report))


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
        "took": f"{report['seconds']:.0f} s, {report['peak_memory_bytes'] / 2**30:.1f} GiB at most",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _figure(value: float | None) -> str:
    """Format a figure; a graph without edges has no loss."""
    return "none" if value is None else f"{value:.4f}"


def _quality(report: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"how often a list of ten holds an item that the user took in the last "
        f"{report['test_days']:g} days, never seen in training"
    )
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
    users, rates = report["test_users"], report["hr_at_10"]
    by_users = sorted(rates, key=lambda name: -users[name])
    own = [name for name in by_users if users[name] >= FEW_USERS][:ROWS] or by_users[:ROWS]
    for name in own:
        cells = [f"{report['coverage'][name][model]:.0%}" for model in models]
        _add_row(table, name, users[name], [rates[name][model] for model in models], cells)
    others = [name for name in by_users if name not in own]
    groups = [("other type" if len(others) == 1 else f"{len(others)} other types", others)]
    if len(by_users) > 1:
        groups.append(("all types", by_users))
    for title, types in groups:
        if not types:
            continue
        together = sum(users[name] for name in types)
        means = [
            sum(users[name] * rates[name][model] for name in types) / max(together, 1)
            for model in models
        ]
        _add_row(table, title, together, means, [])
    return table


def _add_row(
    table: Table, title: str, users: int, rates: Sequence[float], coverages: Sequence[str]
) -> None:
    """Add a row: rates of the models, the best in bold; their coverages, or none."""
    best = max(rates, default=0.0)
    cells = []
    for place, rate in enumerate(rates):
        coverage = f" ({coverages[place]})" if coverages else ""
        cells.append(marked("[bold]{}[/]{}" if rate == best else "{}{}", f"{rate:.3f}", coverage))
    table.add_row(title, f"{users:,}", *cells)


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


def show_shop(report: Mapping[str, Any], console: Console) -> None:
    """Print what left the shop and what lists show of it, and then the other figures."""
    console.print(_removals(report))
    live, rules, policy = report["live"], report["rules"], report["policy"]
    table = Table(title=f"Segue on {report['runs_on']}: {report['data']}", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    rows = {
        "live traffic": f"{live['events']:,} events at {live['rate']:,.0f} a second (of "
        f"{live['wanted_rate']:,.0f}), "
        f"{live['lists']:,} lists; {live['served']:.1%} of {live['active_users']:,} users served",
        "event to recommendation": ", ".join(
            f"{name} {value:,.0f} ms" for name, value in report["latency_ms"].items()
        )
        or "no user was answered",
        "policy": f"version {policy['version']} of the list {policy['list']}",
        "lists that break it": f"{rules['broken']:,} of {rules['lists']:,} (other market "
        f"{rules['other_market']:,}, sold out {rules['sold_out']:,}, creator {rules['creator']:,})",
        "took": f"{report['seconds']:.0f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _removals(report: Mapping[str, Any]) -> Table:
    table = Table(title="lists that hold an item that left the shop")
    table.add_column("event")
    table.add_column("item")
    for name in ("lists before", "last list after", "lists checked", "with the item"):
        table.add_column(name, justify="right")
    table.caption = f"checked: written more than {ALLOWED_MS:,} ms after the event"
    for one in report["removals"]:
        last = "none" if one["last_ms"] is None else f"{one['last_ms']:,} ms"
        table.add_row(
            one["what"],
            marked("{}", one["title"]),
            f"{one['before']:,}", last, f"{one['checked']:,}",
            marked("[red]{}[/]" if one["violations"] else "{}", f"{one['violations']:,}"),
        )  # fmt: skip
    return table
