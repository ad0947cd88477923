"""Fixtures for state."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from state import PartitionState, StateSettings

#: A memory file system where there is one: thousands of databases are opened here.
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


@pytest.fixture(scope="session")
def fresh_state() -> Iterator[Callable[..., "contextmanager[PartitionState]"]]:
    """Opens empty partitions, as many as a property test needs."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:

        @contextmanager
        def open_state(
            settings: StateSettings | None = None, partition: int = 0
        ) -> Iterator[PartitionState]:
            home = Path(folder) / str(next(numbers))
            state = PartitionState(home, partition, settings or StateSettings())
            try:
                yield state
            finally:
                state.close()
                shutil.rmtree(home)

        yield open_state
