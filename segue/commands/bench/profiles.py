"""segue bench profile: where the processor time of each role goes."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from segue.commands.bench.app import app
from segue.options import explained
from segue.screen import console


@app.command(epilog="Examples: segue bench profile, segue bench profile ingest api")
def profile(
    roles: Annotated[
        list[str] | None,
        typer.Argument(help="ingest, answers, api, trainer, static. [all]", show_default=False),
    ] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/profile.json"
    ),
    page: Annotated[
        Path | None, typer.Option(help="Also write the tables as a page in Markdown.")
    ] = None,
) -> None:
    """Where the processor time of each role goes: shares by part, and a flame graph of each role.

    Runs a benchmark of each role under py-spy (pip install py-spy), which needs root or
    kernel.yama.ptrace_scope 0. The flame graphs are SVG files beside the figures.
    """
    from benchmarks.roles_profile import ROLES, ProfileError, page_of, run, show

    # Ended like by Ctrl-C, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with explained(ProfileError):
        report = run(roles or [*ROLES], json_file)
    show(report)
    console.print(f"figures: {json_file}")
    if page is not None:
        page.write_text(page_of(report))
        console.print(f"page: {page}")
