"""How many threads compute, how they wait, and that a busy machine changes no result."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynamic_layer import Trainer
from segue import threads
from static_layer import HGNNSettings, TrainSettings
from static_layer.graph import GraphSettings, build_graph
from static_layer.train import train
from tests.dynamic_layer.worlds import SMALL, make_examples, make_items
from tests.static_layer.conftest import make_community

ASKED = "import os, sys; sys.argv = ['segue', '--version']; from segue.cli import main"


def test_no_thread_spins_in_any_command_unless_the_environment_says_otherwise():
    """OpenMP and OpenBLAS read their environment when torch and NumPy are imported, and once."""
    code = (
        f"{ASKED}\ntry: main()\nexcept SystemExit: pass\n"
        "print(*{'torch', 'numpy'} & sys.modules.keys(), os.environ['OMP_WAIT_POLICY'],"
        " os.environ['OPENBLAS_NUM_THREADS'])"
    )
    named = {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_NUM_THREADS": "3"}
    without = {name: value for name, value in os.environ.items() if name not in named}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        ).stdout.splitlines()[-1]
        for env in (without, without | named)
    ]
    assert said == ["PASSIVE 1", "ACTIVE 3"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_the_limit_of_a_container_bounds_the_cores(tmp_path, monkeypatch, files, expected):
    """Torch takes all cores of the machine, of which a container may have few."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert threads.cores(tmp_path) == expected


def test_a_role_computes_with_as_many_threads_as_it_was_told(monkeypatch):
    before = torch.get_num_threads()
    try:
        assert threads.use_threads(2) == torch.get_num_threads() == 2
        monkeypatch.setattr(threads, "cores", lambda: 1)
        assert threads.use_threads(0) == torch.get_num_threads() == 1
    finally:
        threads.use_threads(before)


@contextmanager
def busy_loops(count: int = 3) -> Iterator[None]:
    """Processes that take what they get of the processor."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def learned() -> list[torch.Tensor]:
    """Weights of a small HGNN and of small towers, trained in slices that the clock ends."""
    world = make_community(items=60, users=120)
    graph = build_graph(world.merged.co_interactions, world.merged.catalogue, GraphSettings())
    hgnn = train(
        graph, world.text, HGNNSettings(hidden=16, output=16),
        TrainSettings(epochs=2, batch_size=256, negatives=32), seed=3,
    )  # fmt: skip
    items = make_items()
    trainer = Trainer(items, replace(SMALL, towers=replace(SMALL.towers, dropout=0.3)), seed=3)
    trainer.add(make_examples(items, 1_500))
    while trainer.train(max_seconds=0.05).steps:
        pass
    return [*hgnn.model.state_dict().values(), *trainer.publish().model.state_dict().values()]


def test_a_busy_machine_learns_the_same_as_an_idle_one():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        idle = learned()
        with busy_loops():
            busy = learned()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(*pair) for pair in zip(idle, busy, strict=True))


def test_no_role_sets_threads_by_itself():
    """One function does, so that none is forgotten when it changes."""
    root = Path(threads.__file__).parent
    found = [
        file.name
        for file in root.rglob("*.py")
        if "set_num_threads(" in file.read_text() and file.name != "threads.py"
    ]
    assert found == []
