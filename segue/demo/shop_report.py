"""The closing table of `segue demo --shop`."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from segue.demo.shop_lists import ALLOWED_MS
from segue.screen import marked

__all__ = ["show_shop"]


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
