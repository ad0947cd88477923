"""What may go wrong in a night: a store fails, a process dies anywhere, a disk is damaged."""

import random
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from fsspec.implementations.local import LocalFileSystem

from agents.outputs import EmbeddedOutputs
from agents.working import leftovers
from dynamic_layer.training.checkpoint_files import CheckpointFiles
from state import ArtifactStore, DamagedState, Patience, StoreUnavailable
from streams import EmbeddedLog, LogChanged
from streams.outbox import Outgoing

if TYPE_CHECKING:
    from tests.simulated.night import Night

#: Operations of a store's file system. Each may fail, and a process may die before or after each.
OPERATIONS = ("put_file", "pipe_file", "get_file", "cat_file", "ls", "size", "rm_file")


class Killed(BaseException):
    """The process died. Nothing in the process can catch that."""


#: Ends of a process that a night expects: a kill, a store that is away when states are opened, a
#: topic that was created again.
DEATHS = (Killed, StoreUnavailable, DamagedState, LogChanged)


class Fuse:
    """Kills a process at a later one of the places that it passes."""

    def __init__(self) -> None:
        self._left: int | None = None

    def light(self, places: int) -> None:
        """Die at the place after so many others."""
        self._left = places

    def out(self) -> None:
        """Do not die."""
        self._left = None

    def burn(self) -> None:
        """Pass a place; raises Killed if it is the one."""
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left = None
            raise Killed


class Store:
    """An artifact store of all workers; it can be away or slow, and tear what is written."""

    def __init__(self, folder: Path, fuse: Fuse, draw: random.Random) -> None:
        self.folder, self.away, self.torn, self.slow_s = folder, False, 0.0, 0.0
        self._fuse, self._draw = fuse, draw
        folder.mkdir(parents=True)

    def opened(self, sleep: Callable[[float], None]) -> ArtifactStore:
        """Return the store as one process sees it; sleep: waits for so many seconds."""
        store = ArtifactStore(str(self.folder), patience=Patience(attempts=2), sleep=sleep)
        # Not the file system that all stores of a process share.
        store.files = LocalFileSystem(skip_instance_cache=True)
        for name in OPERATIONS:
            setattr(store.files, name, self._faulty(name, getattr(store.files, name), sleep))
        return store

    def _faulty(
        self, name: str, really: Callable[..., Any], sleep: Callable[[float], None]
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse.burn()
            if self.slow_s:
                sleep(self.slow_s)
            if self.away:
                raise ConnectionError("the store is away")
            if name == "put_file" and self._draw.random() < self.torn:
                self._tear(Path(args[0]), Path(args[1]))
                raise ConnectionError("the connection broke")
            found = really(*args, **kwargs)
            self._fuse.burn()
            return found

        return call

    def _tear(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = source.read_bytes()
        target.write_bytes(content[: self._draw.randint(0, len(content))])


class Outputs:
    """Writes into the log as a producer does: in order, later, and for certain only by a flush.

    What was not delivered when the process dies is lost. It may die before a record is in the log,
    or after.
    """

    def __init__(self, log: EmbeddedLog, fuse: Fuse, draw: random.Random) -> None:
        self._really, self._fuse, self._draw = EmbeddedOutputs(log), fuse, draw
        self._waiting: deque[tuple[str, Outgoing]] = deque()

    async def send(self, topic: str, key: bytes | None, value: bytes | None, _: Any = None) -> None:
        await self.send_many(topic, [Outgoing(key, value, None)])

    async def send_many(self, topic: str, records: list[Outgoing]) -> None:
        for record in records:
            self._fuse.burn()
            self._waiting.append((topic, record))
        if self._draw.random() < 0.3:
            await self._deliver(self._draw.randint(0, len(self._waiting)))

    async def flush(self) -> None:
        self._fuse.burn()
        await self._deliver(len(self._waiting))
        await self._really.flush()
        self._fuse.burn()

    async def _deliver(self, count: int) -> None:
        for _ in range(count):
            self._fuse.burn()
            topic, record = self._waiting.popleft()
            await self._really.send_many(topic, [record])


def tear_wal(state: Path, draw: random.Random) -> bool:
    """Cut the end of the newest write-ahead log, as a power failure does; tell if there was one."""
    logs = sorted(state.glob("*.log"))
    if not logs or not logs[-1].stat().st_size:
        return False
    size = logs[-1].stat().st_size
    with logs[-1].open("r+b") as file:
        file.truncate(draw.randint(0, size))
    return True


def flip_byte(state: Path, draw: random.Random) -> bool:
    """Change one byte of a table of a state, as a bad disk does; returns whether there was one."""
    tables = sorted(path for path in state.glob("*.sst") if path.stat().st_size)
    if not tables:
        return False
    content = bytearray((table := draw.choice(tables)).read_bytes())
    content[draw.randrange(len(content))] ^= 0xFF
    # A file of its own: checkpoints share it by a hard link.
    fresh = table.with_suffix(".damaged")
    fresh.write_bytes(bytes(content))
    fresh.replace(table)
    return True


@contextmanager
def disks_in_the_clock_of(night: "Night") -> Iterator[None]:
    """Have a folder's last change be in the clock of the night: when it was first seen changed."""
    really, seen = leftovers._changed_ms, dict[Path, tuple[float, int]]()

    def changed_ms(folder: Path) -> float:
        at = really(folder)
        if seen.get(folder, (0.0, 0))[0] != at:
            seen[folder] = at, night.now
        return seen[folder][1]

    with patch.object(leftovers, "_changed_ms", changed_ms):
        yield


def lose(disk: Path) -> None:
    """Lose a worker's disk."""
    shutil.rmtree(disk, ignore_errors=True)


def mortal_files(files: CheckpointFiles, fuse: Fuse, draw: random.Random) -> None:
    """Have a trainer die before, while or after it writes a file of a checkpoint."""
    really = files._write

    def write(path: Path, content: bytes) -> None:
        fuse.burn()
        try:
            fuse.burn()
        except Killed:
            part = path.with_name(path.name + ".part")
            part.write_bytes(content[: draw.randint(0, len(content))])
            raise
        really(path, content)
        fuse.burn()

    files._write = write  # type: ignore[method-assign]


def damage_checkpoint(folder: Path, draw: random.Random) -> str | None:
    """Cut a file of a trainer's checkpoints, as a power failure does; returns which, if any."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        return None
    newest = max(files, key=lambda path: (path.suffix == ".json", path.name))
    chosen = draw.choice([newest, draw.choice(files)])
    content = chosen.read_bytes()
    chosen.write_bytes(content[: draw.randint(0, len(content))])
    return chosen.name[:16]
