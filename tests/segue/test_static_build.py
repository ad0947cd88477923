"""`segue static build` as two processes of torchrun, and what it says without Ray."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from segue.cli import app
from state import ArtifactStore, Checkpoints, merge_checkpoints
from static_layer import StaticBundle, TextEncoder, build
from tests.static_layer.small_world import STATE, STATIC, flags, text_settings, write_world

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_build_the_bundle_that_one_builds_and_one_of_them_writes(
    tmp_path: Path,
) -> None:
    write_world(tmp_path)
    announced, store = tmp_path / "announced", ArtifactStore(str(tmp_path / "store"))
    merged = merge_checkpoints(Checkpoints(store), STATE)
    with closing(TextEncoder(text_settings(tmp_path))) as encoder:
        alone = build(merged, STATIC, seed=5, encoder=encoder)
    done = subprocess.run(
        [
            sys.executable, *TORCHRUN, "-m", "tests.segue.announcing", str(announced),
            "static", "build", "--seed", "5", *flags(tmp_path),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    [name] = store.names("static")
    together = StaticBundle.load(store.fetch("static", name, tmp_path / "fetched"))
    records = [json.loads(line) for line in announced.read_text().splitlines()]
    assert [record["name"] for record in records] == [name]
    assert together.manifest["metrics"]["processes"] == 2
    assert together.offsets == merged.offsets
    assert together.manifest["watermark"] == merged.watermark
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
    monkeypatch.setattr("segue.rights.require_rights_of", lambda *_: None)
    monkeypatch.setattr("agents.outputs.ProducerOutputs.__aenter__", _nothing)
    done = CliRunner().invoke(app, ["static", "build", "--ray", "auto", *flags(tmp_path)])
    assert done.exit_code == 1
    assert "pip install 'segue[ray]'" in done.stderr.replace("\n", " ")


async def _nothing(outputs: object) -> object:
    return outputs
