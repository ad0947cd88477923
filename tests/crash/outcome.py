"""How a run that harms a system ends: what it prints, what it keeps, its exit status."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from tests.crash.run import Report

__all__ = ["ended", "text_of"]


def ended(report: Report, folder: Path, *, as_json: bool, keep: bool) -> int:
    """Print a report and return the exit status; logs and states stay where something differs."""
    equal = not report.differences
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(report) | {"equal": equal}, indent=1) + "\n")
    else:
        sys.stdout.write(text_of(report))
    if equal and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stderr.write(f"logs and states are kept in {folder}\n")
    return 0 if equal else 1


def text_of(report: Report) -> str:
    """Return the history of faults, notes, figures and the verdict, a line each."""
    lines = [f"seed {report.seed}", *report.faults]
    lines += [f"note: {line}" for line in report.exits]
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in report.figures.items()]
    lines += report.differences or ["equal"]
    return "\n".join(lines) + "\n"
