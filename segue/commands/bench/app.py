"""The group of the benchmarks' commands. Benchmarks are in the source tree, not in the package."""

import sys
from pathlib import Path

import typer

__all__ = ["app"]

ROOT = Path(__file__).parents[3]

app = typer.Typer(
    no_args_is_help=True,
    help="Measure the speed of Segue, and of other software, on this machine.",
    epilog="Example: segue bench throughput --jobs segue --events 200000 --repeat 1",
)


@app.callback()
def _benchmarks() -> None:
    if not (ROOT / "benchmarks").is_dir():
        raise typer.BadParameter(f"there are no benchmarks next to {ROOT}: run from a clone")
    sys.path.insert(0, str(ROOT))
