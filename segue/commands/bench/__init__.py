"""segue bench: speed benchmarks. They are in the source tree, not in the installed package."""

from segue.commands.bench import events, models, searches
from segue.commands.bench.app import app

__all__ = ["app", "events", "models", "searches"]
