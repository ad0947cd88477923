"""Quality on real data: runs what is missing, then writes QUALITY.md and benchmarks/FRESHNESS.md.

    python -m benchmarks.quality --data ../shared/data
    python -m benchmarks.quality --data ../shared/data --only lfm1m-segue,amazon-fk-segue --again
    python -m benchmarks.quality --pages

Each run is one `segue evaluate` in a process of its own; its figures are stored as soon as it has
ended, without a word of the data, so that a series that was stopped goes on where it was. Without
--data, and where all is there, only the pages are written.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.quality.page import command_of, options_of, page_of
from benchmarks.quality.sections import SECTIONS, SIMULATED, Run, Section, files_of
from segue.screen import console, errors, marked, progress_bars

HERE = Path(__file__).parent
FIGURES, NOTES = HERE / "figures", HERE / "notes"
PAGES = {
    "quality": HERE.parent / "QUALITY.md",
    "freshness": HERE.parent / "FRESHNESS.md",
}
_KEPT = (
    "model", "item_type", "segment", "users", "asked", "hr_at_10", "hr_at_10_ci", "hr_at_10_seeds",
    "ndcg_at_10", "mrr", "recall_at_100", "coverage", "seconds", "settings", "mode", "label",
    "served", "by_head", "published", "sent",
)  # fmt: skip

app = typer.Typer(add_completion=False)


@app.command(help=__doc__)
def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder with lfm1m/, amazon-fk/ and ml-1m/.")
    ] = None,
    only: Annotated[str, typer.Option(help="Runs, comma-separated; default all.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Make runs again whose figures are there.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads of the models; 0 for all cores.")] = 1,
    pages: Annotated[bool, typer.Option("--pages", help="Only write the pages.")] = False,
) -> None:
    """Make runs and pages."""
    table = {run.name: (section, run) for section in SECTIONS for run in section.runs}
    names = [name for name in only.split(",") if name] or list(table)
    if unknown := [name for name in names if name not in table]:
        raise typer.BadParameter(f"expected runs of {', '.join(table)}; got {', '.join(unknown)}")
    missing = [name for name in names if again or not _file(name).exists()]
    if data is not None and missing and not pages:
        failed = []
        with progress_bars() as bars:
            task = bars.add_task("quality", total=len(missing), note="")
            for name in missing:
                bars.update(task, note=name)
                if not _run(*table[name], data, threads):
                    failed.append(name)
                bars.advance(task)
                _write_pages()
        if failed:
            errors.print(marked("[red]error:[/] without figures: {}", ", ".join(failed)))
            raise typer.Exit(1)
    _write_pages()
    console.print(f"written: {', '.join(str(page) for page in PAGES.values())}")


def _run(section: Section, run: Run, data: Path, threads: int) -> bool:
    """Run one `segue evaluate`, and keep its report; return whether it ended well."""
    options = shlex.split(options_of(section, run))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        if commands := SIMULATED.get(section.data):
            data, name = Path(folder), section.data
            (data / name).mkdir()
            for command in commands:
                words = shlex.split(command.replace(f"{name}/", f"{data}/{name}/"))[1:]
                subprocess.run([sys.executable, "-m", "segue", *words], check=True)
        events, items = files_of(data, section.data)
        done = subprocess.run(
            [
                sys.executable, "-m", "segue", "evaluate", str(events), str(items), *options,
                "--threads", str(threads), "--json", str(report),
            ],
            check=False,
        )  # fmt: skip
        if done.returncode:
            return False
        keep(report, command_of(section, run), _file(run.name))
    return True


def keep(report: Path, command: str, file: Path) -> None:
    """Store a report's figures: what the pages need, rounded, the files' places left out."""
    found = json.loads(report.read_text())
    rows = [{key: row[key] for key in _KEPT if key in row} for row in found["rows"]]
    # Where lists were served live too, those at the split are of another question.
    if any(row.get("mode") == "live" for row in rows):
        rows = [row for row in rows if row["mode"] == "live"]
    kept = {"command": command, "trial": found["trial"], "rows": rows}
    kept |= {key: found[key] for key in ("days", "gains", "skipped") if found.get(key)}
    lines = json.dumps(_rounded(kept)).replace('{"model"', '\n{"model"')
    file.write_text(lines + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def _write_pages() -> None:
    reports = {file.stem: json.loads(file.read_text()) for file in sorted(FIGURES.glob("*.json"))}
    for name, file in PAGES.items():
        sections = [section for section in SECTIONS if section.page == name]
        file.write_text(page_of(sections, reports, NOTES))


def _file(name: str) -> Path:
    return FIGURES / f"{name}.json"


if __name__ == "__main__":
    app()
