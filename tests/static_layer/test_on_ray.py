"""The static job on a Ray cluster of two raylets gives what one process gives.

The raylets have addresses of their own on the loopback interface, and nothing else is used of the
network. All that Ray writes lies in one folder, which is removed.
"""

# ruff: noqa: PLC0415 - Ray takes seconds to load: only where a test needs it
import functools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from state import ArtifactStore, Checkpoints, MergedState, WrongState, merge_checkpoints
from static_layer import RaySettings, StaticBundle, TextEncoder, TextSettings, build
from tests.static_layer.small_world import STATE, STATIC, text_settings, write_world
from tests.waiting import PATIENCE_S

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra `ray` is not installed"),
]

TWO = RaySettings(address="127.0.0.2", workers=2, retries=1)
SMALL = 80 << 20
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    # Ray's processes stand back behind all others by default; among other tests they would starve.
    "RAY_worker_niceness": "0",
    # A busy machine is no dead one.
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_health_check_failure_threshold": "50",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    # Sockets lie in it, whose paths may have 107 letters.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**ENVIRONMENT, "RAY_TMPDIR": folder}.items():
            environment.setenv(name, value)
        environment.setattr(ray._private.services, "get_node", _patient(ray._private.services))
        nodes = Cluster()
        try:
            for host in ("127.0.0.2", "127.0.0.3"):
                nodes.add_node(
                    wait=False, node_ip_address=host, num_cpus=1, object_store_memory=SMALL,
                    include_dashboard=False, include_log_monitor=False, no_monitor=True,
                )  # fmt: skip
            nodes.wait_for_nodes(timeout=PATIENCE_S)
            ray.init(
                address=nodes.address, _node_ip_address="127.0.0.2", logging_level="warning",
                log_to_driver=False,
            )  # fmt: skip
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()
            left = [process for process in psutil.process_iter() if _names(process, folder)]
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=PATIENCE_S)
            shutil.rmtree(folder)
    assert left == []


def _patient(services: Any) -> Callable[..., Any]:
    """Return services.get_node, which waits for a node to register instead of being asked again.

    Ray gives a node thirty seconds to start.
    """
    asked = services.get_node

    def get_node(*arguments: Any) -> Any:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return asked(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    return get_node


def _names(process: psutil.Process, folder: str) -> bool:
    """Whether a process belongs to the cluster whose files lie in the folder."""
    try:
        return any(folder in part for part in process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def world(tmp_path: Path) -> Path:
    write_world(tmp_path)
    return tmp_path


def assert_equal(one: MergedState, other: MergedState) -> None:
    for name in ("item_keys", "left", "right", "count"):
        mine, theirs = getattr(one.co_interactions, name), getattr(other.co_interactions, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), name
    assert one.catalogue.equals(other.catalogue)
    assert (one.offsets, one.watermark) == (other.offsets, other.watermark)
    assert one.settings == other.settings


def test_the_merged_state_is_that_of_one_process(cluster: Any, world: Path) -> None:
    from static_layer.merge_on_ray import merge_on_ray

    store = str(world / "store")
    merged = merge_on_ray(store, STATE)
    assert_equal(merged, merge_checkpoints(Checkpoints(ArtifactStore(store)), STATE))


def test_what_a_task_raises_comes_out_in_its_own_kind(cluster: Any, world: Path) -> None:
    from static_layer.on_ray import build_on_ray

    store, encoder = str(world / "store"), functools.partial(TextEncoder, text_settings(world))
    longer = replace(STATE, window=replace(STATE.window, buckets=60))
    assert longer.fingerprint() != STATE.fingerprint()
    with pytest.raises(WrongState, match="other settings"):
        build_on_ray(store, longer, STATIC, TWO, seed=5, encoder=encoder)


def test_a_broken_checkpoint_moves_the_window_back_as_in_one_process(
    cluster: Any, world: Path
) -> None:
    from static_layer.merge_on_ray import merge_on_ray

    whole = merge_checkpoints(Checkpoints(ArtifactStore(str(world / "store"))), STATE)
    checkpoints = Checkpoints(ArtifactStore(str(world / "store")))
    newest, older = (checkpoints.manifest(0, checkpoints.names(0)[at]) for at in (-1, 0))
    own = {file["sha256"] for file in newest.files.values()}
    own -= {file["sha256"] for file in older.files.values()}
    for digest in own:
        (world / "store/checkpoints/00000/files" / digest).unlink()
    shutil.copytree(world / "store", world / "copy")
    merged = merge_on_ray(str(world / "copy"), STATE)
    assert merged.watermark < whole.watermark
    assert_equal(merged, merge_checkpoints(Checkpoints(ArtifactStore(str(world / "store"))), STATE))


def dies_once(settings: TextSettings, died: Path) -> TextEncoder:
    """Make a worker's encoder; the second worker dies of it the first time."""
    from static_layer import Parallel

    if Parallel.here().rank == 1 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return TextEncoder(settings)


def test_the_bundle_is_that_of_one_process_though_a_worker_dies(cluster: Any, world: Path) -> None:
    from static_layer.on_ray import build_on_ray

    store = ArtifactStore(str(world / "store"))
    merged = merge_checkpoints(Checkpoints(store), STATE)
    died = world / "died"
    encoder = functools.partial(dies_once, text_settings(world), died)
    bundle = build_on_ray(store.url, STATE, STATIC, TWO, seed=5, encoder=encoder)
    alone = build(merged, STATIC, seed=5, encoder=TextEncoder(text_settings(world)))
    assert died.exists()
    assert bundle.manifest["metrics"]["processes"] == 2
    assert bundle.offsets == merged.offsets
    assert bundle.items.equals(alone.items)
    assert np.array_equal(bundle.text, alone.text)
    # Sums in another order, forwarded through two epochs of Adam.
    assert np.allclose(bundle.hgnn, alone.hgnn, atol=2e-3)
    # It is in the store once, and of Ray's own notes nothing is.
    assert store.names("static") == [bundle.name]
    fetched = StaticBundle.load(store.fetch("static", bundle.name, world / "fetched"))
    assert np.array_equal(fetched.hgnn, bundle.hgnn)
    assert list((world / "store/ray").iterdir()) == []
