"""Two processes learn what one learns at the same batch size."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

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


def torchrun(settings: TrainSettings, folder: Path) -> list[dict[str, object]]:
    """Train in two processes; return what each says."""
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            "-m", "tests.static_layer.parallel_training", json.dumps(asdict(settings)),
            str(folder),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_learn_the_model_that_one_learns(tmp_path: Path) -> None:
    alone = training_of(ALIKE)
    figures = torchrun(ALIKE, tmp_path)
    assert [figure["size"] for figure in figures] == [2, 2]
    assert figures[0]["loss"] == figures[1]["loss"] == pytest.approx(alone.loss, rel=1e-3)
    weights = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weights[0][name], weights[1][name])
        # Sums in another order, forwarded through two epochs of Adam.
        assert torch.allclose(weights[0][name], weight, atol=2e-3), name


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_the_first_processs_clock_ends_the_training_of_all(tmp_path: Path) -> None:
    figures = torchrun(replace(ALIKE, epochs=50, max_seconds=0.001), tmp_path)
    assert [figure["stopped_by"] for figure in figures] == ["clock", "clock"]


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
