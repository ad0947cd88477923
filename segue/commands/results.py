"""What commands do alike with a result: wait for it, explain what went wrong, print it."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

import typer

from segue.options import explained
from segue.screen import console

__all__ = ["result_of", "say"]

T = TypeVar("T")


def result_of(asked: Awaitable[T], *wrong: type[Exception]) -> T:
    """Return what is awaited; wrong: errors that are printed, without a traceback."""

    async def run() -> T:
        return await asked

    with explained(*wrong):
        return asyncio.run(run())


def say(values: dict[str, Any], sentence: str, as_json: bool) -> None:
    """Print a sentence, or the values as JSON."""
    if as_json:
        typer.echo(json.dumps(values))
    else:
        console.print(sentence, highlight=False)
