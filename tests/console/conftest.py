"""One console for the tests that only read, and worlds for those that write."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from playwright.sync_api import Browser, sync_playwright

from dynamic_layer import DynamicBundle
from state import compile_kernels
from tests.console.readable import CHROMIUM
from tests.console.worlds import Served, World, make_bundles, make_world, served, small_items
from tests.dynamic_layer.worlds import Items
from tests.waiting import wait_until


@contextmanager
def ready(world: World) -> Iterator[Served]:
    """Serve a world, once it can answer; close its log in the end."""
    with served(world) as found:
        with found.client() as client:
            wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        yield found
    world.log.close()


@pytest.fixture(scope="session")
def items() -> Items:
    torch.set_num_threads(1)
    # Where nothing is cached yet, the first batch would keep every request waiting.
    compile_kernels()
    return small_items()


@pytest.fixture(scope="session")
def bundles(items: Items) -> list[DynamicBundle]:
    return make_bundles(items)


@pytest.fixture
def world(tmp_path, items: Items, bundles: list[DynamicBundle]) -> Iterator[World]:
    made = make_world(tmp_path, items, bundles)
    yield made
    made.log.close()


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, items: Items, bundles: list[DynamicBundle]
) -> Iterator[Served]:
    """A console that is ready, with both bundles; for tests that change nothing."""
    made = make_world(tmp_path_factory.mktemp("console"), items, bundles)
    for bundle in bundles:
        made.announce(bundle)
    with ready(made) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
