"""`segue static build`: alone, as two processes of torchrun, and what it says without Ray."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from segue.cli import app
from state import ArtifactStore
from static_layer import StaticBundle
from tests.static_layer.small_world import flags, write_world

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def built(folder: Path, launcher: list[str]) -> tuple[StaticBundle, list[dict[str, object]]]:
    """Run the command on a world of its own; return the bundle and what was announced."""
    write_world(folder)
    announced = folder / "announced"
    done = subprocess.run(
        [
            sys.executable, *launcher, "-m", "tests.segue.announcing", str(announced),
            "static", "build", "--seed", "5", *flags(folder),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    store = ArtifactStore(str(folder / "store"))
    [name] = store.names("static")
    bundle = StaticBundle.load(store.fetch("static", name, folder / "fetched"))
    return bundle, [json.loads(line) for line in announced.read_text().splitlines()]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_build_the_bundle_that_one_builds_and_one_of_them_writes(
    tmp_path: Path,
) -> None:
    alone, _ = built(tmp_path / "alone", ["-W", "default"])
    together, announced = built(tmp_path / "together", TORCHRUN)
    assert [record["name"] for record in announced] == [together.name]
    assert together.manifest["metrics"]["processes"] == 2
    assert together.manifest["offsets"] == alone.manifest["offsets"]
    assert together.items.equals(alone.items)
    assert np.array_equal(together.text, alone.text)
    # Sums in another order, forwarded through two epochs of Adam.
    assert np.allclose(together.hgnn, alone.hgnn, atol=2e-3)


def test_without_ray_the_command_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "static_layer.on_ray", raising=False)
    monkeypatch.delitem(sys.modules, "static_layer.merge_on_ray", raising=False)
    monkeypatch.setattr("agents.outputs.ProducerOutputs.__aenter__", _nothing)
    done = CliRunner().invoke(app, ["static", "build", "--ray", "auto", *flags(tmp_path)])
    assert done.exit_code == 1
    assert "pip install 'segue[ray]'" in done.stderr.replace("\n", " ")


async def _nothing(outputs: object) -> object:
    return outputs
