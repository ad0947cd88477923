"""JSON Schemas of the records: `python -m streams.schemas [FOLDER]` writes them to docs/schemas."""

import inspect
import json
import re
import sys
from pathlib import Path

import msgspec

from streams.records import WIRE_RECORDS

FOLDER = Path("docs") / "schemas"


def schemas() -> dict[str, str]:
    """Return by file name the JSON Schema (draft 2020-12) of each record on the wire."""
    return {f"{_name(record)}.json": _schema(record) for record in WIRE_RECORDS}


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas to a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in schemas().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def _name(record: type) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", record.__name__).lower()


def _schema(record: type) -> str:
    schema = msgspec.json.schema(record)
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition["description"])
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for written in write_schemas(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"{written}\n")
