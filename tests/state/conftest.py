"""Fixtures for state."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from state import PartitionState, StateSettings

OpenState = Callable[[StateSettings], "contextmanager"]


@pytest.fixture(scope="session")
def fresh_state() -> Iterator[Callable[..., "contextmanager[PartitionState]"]]:
    """Opens empty partitions, as many as a property test needs."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:

        @contextmanager
        def open_state(
            settings: StateSettings | None = None, partition: int = 0
        ) -> Iterator[PartitionState]:
            state = PartitionState(
                Path(folder) / str(next(numbers)), partition, settings or StateSettings()
            )
            try:
                yield state
            finally:
                state.close()

        yield open_state
