"""The OpenAPI document: what FastAPI makes of the routes, and the records of `streams.records`.

`python -m console.openapi` prints it; `make clients` makes the clients of it.
"""

import inspect
import json
import sys
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from console.problems import FieldProblem, ProblemBody
from streams import Event, Impression, Item, ShownItem, User

__all__ = ["describe", "document"]

RECORDS = (Event, Impression, ShownItem, Item, User)
IDS = ("user_id", "item_id", "item_type")


def describe(app: FastAPI) -> None:
    """Have an app's OpenAPI document define problems, and the records that operations take."""
    made = app.openapi

    def completed() -> dict[str, Any]:
        found = made()
        found["components"]["schemas"].update(_problems() | _records())
        return found

    # FastAPI's own way to extend the document.
    app.openapi = completed  # type: ignore[method-assign]


def document() -> str:
    """Return the document of the API as JSON text."""
    from console.app import api_routes  # noqa: PLC0415 - which imports this module

    return json.dumps(api_routes().openapi(), indent=1, ensure_ascii=False) + "\n"


def _problems() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "serialization") for model in (ProblemBody, FieldProblem)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _records() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(RECORDS, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        if "description" in schema:  # before Python 3.13 docstrings keep their indentation
            schema["description"] = inspect.cleandoc(schema["description"])
        for own in schema["properties"].values():
            # Generators assume that a field with a default is always present.
            if own.get("default", ...) is None:
                del own["default"]
        for name in IDS:
            if (own := schema["properties"].get(name)) is not None:
                # The decoder takes whole numbers as their text.
                text = {k: v for k, v in own.items() if k != "description"}
                schema["properties"][name] = {
                    "description": own["description"], "anyOf": [text, {"type": "integer"}]
                }  # fmt: skip
    return schemas


if __name__ == "__main__":
    sys.stdout.write(document())
