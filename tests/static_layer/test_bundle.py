"""The job makes a bundle that says where it comes from and survives the disk."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from static_layer import (
    BundleError,
    GraphSettings,
    StaticBundle,
    StaticSettings,
    build,
    recipe_of,
)
from static_layer.bundle import load_sparse, save_sparse
from static_layer.settings import HGNNSettings, TrainSettings

from .conftest import Community, TableEncoder

SETTINGS = StaticSettings(
    hgnn=HGNNSettings(hidden=16, output=8),
    train=TrainSettings(epochs=2, batch_size=512, negatives=32, fan_outs=(3, 3)),
)


@pytest.fixture
def bundle(community: Community, encoder: TableEncoder) -> StaticBundle:
    return build(
        community.merged,
        SETTINGS,
        seed=1,
        encoder=encoder,
        clock=lambda: 1_700_000_000.0,  # type: ignore[arg-type]
    )


def test_a_bundle_has_one_vector_per_live_item(bundle: StaticBundle, community: Community) -> None:
    catalogue = community.merged.catalogue
    assert bundle.item_ids == catalogue["item_id"].to_list()
    assert bundle.hgnn.shape == (catalogue.height, 8)
    assert np.allclose(np.linalg.norm(bundle.hgnn, axis=1), 1, atol=1e-5)
    assert np.allclose(bundle.text, community.text, atol=1e-3)
    users = dict(
        zip(
            community.merged.co_interactions.item_keys.tolist(),
            community.merged.co_interactions.users.tolist(),
            strict=True,
        )
    )
    assert bundle.users.tolist() == [users.get(key, 0) for key in bundle.item_keys.tolist()]


def test_the_manifest_says_what_the_graph_knows(bundle: StaticBundle) -> None:
    assert bundle.offsets == {"segue.events": {0: 17, 1: 4}}
    assert bundle.generation == 1_700_000_000_000
    assert bundle.manifest["watermark"] == 20_000
    assert bundle.manifest["window"] == {"bucket_ms": 86_400_000, "buckets": 90}
    assert bundle.manifest["metrics"]["nodes"] == 240
    assert set(bundle.manifest["metrics"]["edges"]) == {
        "audiobook-audiobook",
        "audiobook-podcast",
        "podcast-podcast",
    }
    json.dumps(bundle.manifest, allow_nan=False)


def test_a_bundle_survives_the_disk(bundle: StaticBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "bundle")
    loaded = StaticBundle.load(tmp_path / "bundle")
    assert loaded.items.equals(bundle.items)
    assert np.array_equal(loaded.hgnn, bundle.hgnn)
    assert np.array_equal(loaded.text, bundle.text)
    assert loaded.offsets == bundle.offsets
    assert np.array_equal(loaded.cold(bundle.text[:3]), bundle.cold(bundle.text[:3]))
    assert {path.suffix for path in (tmp_path / "bundle").iterdir()} == {
        ".json",
        ".parquet",
        ".safetensors",
    }


@pytest.mark.parametrize("separate", [1, 4])
def test_the_relations_of_the_model_are_those_of_the_graph(
    community: Community, encoder: TableEncoder, tmp_path: Path, separate: int
) -> None:
    settings = replace(SETTINGS, graph=GraphSettings(separate_types=separate))
    built = build(community.merged, settings, seed=1, encoder=encoder)  # type: ignore[arg-type]
    built.save(tmp_path)
    model = StaticBundle.load(tmp_path).model
    assert model.folded is (separate == 1)
    relations = [len(layer.relations) for layer in model.layers]  # type: ignore[arg-type]
    assert relations == [2 if model.folded else 4] * 2
    weights = built.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_bundle_of_the_version_before_folding_is_read(
    bundle: StaticBundle, tmp_path: Path
) -> None:
    bundle.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["model"]["folded"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    loaded = StaticBundle.load(tmp_path)
    assert not loaded.model.folded
    assert np.array_equal(loaded.cold(bundle.text[:3]), bundle.cold(bundle.text[:3]))


def test_rows_are_found_by_item_key(bundle: StaticBundle) -> None:
    keys = bundle.item_keys[[5, 0, 200]]
    assert bundle.rows([*keys.tolist(), 1]).tolist() == [5, 0, 200, -1]


def test_equal_seeds_build_equal_vectors(
    bundle: StaticBundle, community: Community, encoder: TableEncoder
) -> None:
    again = build(community.merged, SETTINGS, seed=1, encoder=encoder)  # type: ignore[arg-type]
    assert np.array_equal(again.hgnn, bundle.hgnn)
    assert again.manifest["settings_hash"] == bundle.manifest["settings_hash"]


def test_progress_tells_every_stage(community: Community, encoder: TableEncoder) -> None:
    stages: list[str] = []
    shown: dict[str, set[str]] = {}

    def progress(
        stage: str, _done: int, _total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        stages.append(stage)
        shown.setdefault(stage, set()).update(figures or {})

    build(
        community.merged,
        SETTINGS,
        seed=1,
        encoder=encoder,  # type: ignore[arg-type]
        progress=progress,
    )
    assert list(dict.fromkeys(stages)) == ["text", "graph", "structure", "hgnn", "vectors"]
    assert shown["graph"] == {"nodes", "edges"}, "not each relation"


def test_the_papers_recipe_replaces_what_is_set_and_keeps_where_it_runs() -> None:
    mine = StaticSettings(
        recipe="paper",
        graph=GraphSettings(min_count=3),
        train=TrainSettings(epochs=1, max_seconds=60.0, device="cpu", loss="contrastive"),
    )
    paper = recipe_of(mine)
    assert (paper.graph.min_count, paper.graph.max_degree) == (1, 0)
    assert (paper.hgnn.layers, paper.hgnn.structure, paper.hgnn.last_activation) == (2, 0, True)
    assert paper.train == TrainSettings(
        epochs=50, patience=10, batch_size=256, learning_rate=1e-3, loss="hinge",
        cold_share=0.0, max_edges_per_epoch=0, max_seconds=60.0, device="cpu",
        edge_draw="uniform", in_batch=False,
    )  # fmt: skip
    assert recipe_of(replace(mine, recipe="default")) == replace(mine, recipe="default")


def test_the_job_runs_the_recipe_that_is_named(community: Community, encoder: TableEncoder) -> None:
    settings = replace(SETTINGS, recipe="paper", train=replace(SETTINGS.train, max_seconds=1e-9))
    bundle = build(community.merged, settings, seed=1, encoder=encoder)  # type: ignore[arg-type]
    assert bundle.manifest["settings"]["train"]["loss"] == "hinge"
    assert bundle.model.settings.structure == 0


def test_another_format_is_refused(bundle: StaticBundle, tmp_path: Path) -> None:
    replace(bundle, manifest={**bundle.manifest, "format": 99}).save(tmp_path)
    with pytest.raises(BundleError, match="format 99"):
        StaticBundle.load(tmp_path)
    with pytest.raises(BundleError, match="no readable manifest"):
        StaticBundle.load(tmp_path / "nothing")


def test_an_empty_catalogue_is_refused(community: Community) -> None:
    empty = replace(community.merged, catalogue=community.merged.catalogue[:0])
    with pytest.raises(ValueError, match="catalogue is empty"):
        build(empty, SETTINGS, seed=0)


def test_weights_that_are_read_are_mapped_and_changes_stay_in_memory(tmp_path: Path) -> None:
    file, made = tmp_path / "weights.safetensors", sp.csr_array(np.eye(3, dtype=np.float32))
    save_sparse({"ease": made}, file)
    content = file.read_bytes()
    weights = load_sparse(file)["ease"]
    assert (weights != made).nnz == 0
    assert not weights.data.flags.owndata
    weights.data[:] = 7
    assert file.read_bytes() == content
