"""Where a benchmark works, and where its figures go."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["measured"]


def measured(file: Path, measure: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Measure in a scratch folder beside `file`, and write the report to `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        report = measure(Path(scratch))
    file.write_text(json.dumps(report, indent=2) + "\n")
    return report
