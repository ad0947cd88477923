"""The broker that a benchmark runs on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.broker import DevelopmentBroker
from streams.distribution import POM

__all__ = ["broker_at"]

ROOT = Path(__file__).parents[1]


@contextmanager
def broker_at(folder: Path, address: str | None = None) -> Iterator[str]:
    """Give the address of a broker: the one named, else one with its data in `folder`."""
    if address:
        yield address
        return
    libs = ROOT / "var" / "kafka" / "libs"
    node = DevelopmentBroker(folder, POM, libs=libs)
    started = node.start()
    try:
        yield started
    finally:
        node.stop()
