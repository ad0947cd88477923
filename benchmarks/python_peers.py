"""Peers in Python: each in an environment of its own, so that Segue has none of their packages."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.commits import Commit
from benchmarks.job import BenchError, Done, Place, Size, done_in, named, said, summed, table_of
from benchmarks.listening import Totals

__all__ = ["PEERS", "Pathway", "QuixStreams", "environment", "lock_of"]

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"


def lock_of(name: str) -> Path:
    """Return the lock of a peer's environment."""
    return PEERS / f"requirements-{name}.lock"


def environment(name: str, folder: Path = ROOT / "var" / "peers") -> Path:
    """Return the interpreter of a peer's environment, made of its lock where it is not there yet.

    Raises BenchError where packages cannot be installed.
    """
    lock, python = lock_of(name), folder / name / "bin" / "python"
    made = folder / name / lock.name
    if made.exists() and made.read_bytes() == lock.read_bytes():
        return python
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise BenchError(f"{name} needs uv, which makes its environment: run `make setup`")
    environment_of = ["venv", "--quiet", "--clear", "--python", sys.executable]
    install = ["pip", "install", "--quiet", "--python", str(python), "--require-hashes"]
    for command in ([*environment_of, str(folder / name)], [*install, "-r", str(lock)]):
        done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            tail = " ".join(done.stderr.split()[-40:])
            raise BenchError(f"the packages of {name} cannot be installed here: {tail}")
    made.write_bytes(lock.read_bytes())
    return python


class QuixStreams:
    """The application of benchmarks/peers/quix_streams.py."""

    name = "quix-streams"
    size: Size = "peer_events"
    peer, tells = True, False

    def prepare(self) -> None:
        """Install it. Raises BenchError."""
        environment(self.name)

    def command(self, place: Place, number: int) -> list[str]:
        return _command(self.name, "quix_streams.py", place, number)

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        return said(log, "started")

    def done(self, log: str) -> Done | None:
        return None

    def totals(self, place: Place, logs: list[str]) -> Totals:
        folders = place.folder.glob(f"quix-streams-*/{place.group}/*/*/*")
        return summed([named(self._counts(folder)) for folder in folders])

    def _counts(self, folder: Path) -> Iterator[tuple[int, str, str, int]]:
        table = table_of(folder)
        for key, value in table.items():
            # The message's key, then ours: history|user, or bucket|a|b.
            parts = key.decode().replace('"', "").split("|")
            if len(parts) == 4:
                _, bucket, a, b = parts
                yield int(bucket), a, b, int(value)
        table.close()


class Pathway:
    """The tables of benchmarks/peers/pathway_tables.py.

    Its commits are what it has read. When events are in the result it says itself.
    """

    name = "pathway"
    size: Size = "peer_events"
    peer = tells = True

    def prepare(self) -> None:
        """Install it. Raises BenchError."""
        environment(self.name)

    def command(self, place: Place, number: int) -> list[str]:
        return _command(self.name, "pathway_tables.py", place, number)

    def started_ms(self, log: str, commits: Sequence[Commit]) -> int | None:
        return next((commit.at_ms for commit in commits if commit.offset), None)

    def done(self, log: str) -> Done | None:
        return done_in(log)

    def totals(self, place: Place, logs: list[str]) -> Totals:
        files = place.folder.glob("pathway-*/pairs.csv")
        return summed([named(self._changes(file)) for file in files])

    def _changes(self, file: Path) -> Iterator[tuple[int, str, str, int]]:
        """Counts that came, and with the opposite sign those that went."""
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                yield int(row["bucket"]), row["a"], row["b"], int(row["count"]) * int(row["diff"])


def _command(name: str, program: str, place: Place, number: int) -> list[str]:
    broker, folder = ",".join(place.kafka.servers), str(place.folder / f"{name}-{number}")
    python = str(environment(name))
    return [python, str(PEERS / program), broker, place.topics.events, place.group, folder]
