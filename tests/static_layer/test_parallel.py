"""Two processes learn what one learns at the same batch size."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from static_layer.parallel import Parallel
from static_layer.settings import TrainSettings
from tests.waiting import PATIENCE_S

from .parallel_training import training_of

ROOT = Path(__file__).parents[2]
# All neighbours: sampled ones are each process's own.
ALIKE = TrainSettings(
    epochs=2, batch_size=250, negatives=64, in_batch=True, fan_outs=(0, 0), cold_share=0.3,
    device="cpu",
)  # fmt: skip


CLOCKED = replace(ALIKE, epochs=50, max_seconds=0.001)


class Rank(NamedTuple):
    """What a process says of its training, and the weights that it saved."""

    figures: dict[str, Any]
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[list[Rank]]:
    """Both processes of each training. One start trains all, for it costs more than they do."""
    if not torch.distributed.is_available():
        pytest.skip("torch without distributed")
    folder, trainings = tmp_path_factory.mktemp("parallel"), (ALIKE, CLOCKED)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "tests.static_layer.parallel_training", str(folder),
            *[json.dumps(asdict(settings)) for settings in trainings],
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        [
            Rank(
                json.loads((folder / f"{number}-{rank}.json").read_text()),
                load_file(folder / f"{number}-{rank}.safetensors"),
            )
            for rank in range(2)
        ]
        for number in range(len(trainings))
    ]


def test_two_processes_learn_the_model_that_one_learns(together: list[list[Rank]]) -> None:
    alone, (first, second) = training_of(ALIKE), together[0]
    assert first.figures["size"] == second.figures["size"] == 2
    assert first.figures["loss"] == second.figures["loss"] == pytest.approx(alone.loss, rel=1e-3)
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(first.weights[name], second.weights[name])
        # Sums in another order, forwarded through two epochs of Adam.
        assert torch.allclose(first.weights[name], weight, atol=2e-3), name


def test_the_first_processs_clock_ends_the_training_of_all(together: list[list[Rank]]) -> None:
    assert [rank.figures["stopped_by"] for rank in together[1]] == ["clock", "clock"]


def test_processes_with_other_graphs_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pair(Parallel):
        def total(self, value: float, device: torch.device) -> float:
            return 2 * value + 1

    monkeypatch.setattr(Parallel, "here", classmethod(lambda _: Pair(size=2)))
    with pytest.raises(ValueError, match="the 2 processes have"):
        training_of(ALIKE)


@pytest.mark.parametrize("n", [1, 2, 7, 256])
def test_parts_cover_a_batch_and_their_weights_make_its_mean(n: int) -> None:
    processes = [Parallel(rank=rank, size=3) for rank in range(3)]
    assert [row for p in processes for row in range(n)[p.part(n)]] == list(range(n))
    assert sum(p.share(n) for p in processes) / 3 == pytest.approx(1)
