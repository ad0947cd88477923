"""Worlds of two sizes, drawn once."""

import pyarrow as pa
import pytest

from simulation import World, WorldSettings

SMALL = WorldSettings(users=2_000, items=1_000, events=100_000)


@pytest.fixture(scope="session")
def small_world() -> World:
    return World(SMALL, seed=1)


@pytest.fixture(scope="session")
def small_events(small_world: World) -> pa.Table:
    return pa.Table.from_batches(list(small_world.history()))
