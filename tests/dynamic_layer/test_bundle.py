"""Bundles on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dynamic_layer import (
    CorruptBundle,
    DynamicBundle,
    Recommender,
    Trainer,
    default_lists,
)
from dynamic_layer.head.ranking_head import HeadTrainer, Lists
from dynamic_layer.settings import HeadSettings
from tests.dynamic_layer.worlds import SMALL, START_MS, Items, make_examples, make_user

FILES = (
    "manifest.json",
    "items.parquet",
    "items.safetensors",
    "features.safetensors",
    "towers.safetensors",
    "index-0.faiss",
)


@pytest.fixture(params=["with HGNN", "without HGNN"])
def saved(
    request: pytest.FixtureRequest, items: Items, bundle: DynamicBundle, tmp_path: Path
) -> tuple[DynamicBundle, Path]:
    if request.param == "without HGNN":
        trainer = Trainer(items, replace(SMALL, use_hgnn=False), seed=1)
        trainer.add(make_examples(items, 300))
        trainer.train(max_steps=2)
        bundle = trainer.publish()
    bundle.save(tmp_path)
    return bundle, tmp_path


def test_a_loaded_bundle_recommends_the_same_and_embeds_new_items_alike(
    saved: tuple[DynamicBundle, Path], items: Items
) -> None:
    bundle, folder = saved
    loaded = DynamicBundle.load(folder)
    users = [make_user(items, rows, now_ms=START_MS) for rows in ([0, 6], [1], [])]
    lists = default_lists(bundle.types)
    for one, other in zip(
        Recommender(bundle).recommend(users, lists, START_MS),
        Recommender(loaded).recommend(users, lists, START_MS),
        strict=True,
    ):
        assert {n: r.item_ids for n, r in one.items()} == {n: r.item_ids for n, r in other.items()}
    new = {
        "item_types": ["podcast"],
        "languages": ["en"],
        "genres": [["crime"]],
        "text": items.text[:1],
    }
    np.testing.assert_allclose(bundle.embed(**new)[1], loaded.embed(**new)[1], rtol=1e-5)  # type: ignore[arg-type]
    assert loaded.titles == bundle.titles
    assert loaded.generation == bundle.generation


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_torn_file_is_a_corrupt_bundle(
    bundle: DynamicBundle, tmp_path: Path, name: str
) -> None:
    bundle.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptBundle):
        DynamicBundle.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CorruptBundle):
        DynamicBundle.load(tmp_path)


def test_features_of_an_earlier_version_are_among_the_columns_of_items(
    bundle: DynamicBundle, tmp_path: Path
) -> None:
    bundle.save(tmp_path)
    features, columns = tmp_path / "features.safetensors", tmp_path / "items.safetensors"
    save_file(load_file(features) | load_file(columns), columns)
    features.unlink()
    loaded = DynamicBundle.load(tmp_path)
    for name, column in vars(bundle.features).items():
        assert torch.equal(getattr(loaded.features, name), column)


def test_another_format_is_named(bundle: DynamicBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CorruptBundle, match="format 1, got 99"):
        DynamicBundle.load(tmp_path)


def test_the_manifest_says_where_the_bundle_comes_from(bundle: DynamicBundle) -> None:
    manifest = bundle.manifest
    assert manifest["static"] == "static-1"
    assert manifest["created_at"] == 1_000
    assert manifest["types"] == ["audiobook", "podcast"]
    assert manifest["metrics"]["steps"] > 0
    json.dumps(manifest)


def test_a_head_travels_with_its_bundle(bundle: DynamicBundle, tmp_path: Path) -> None:
    trainer = HeadTrainer(["taste", "demand"], HeadSettings(hidden=4), seed=2)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6, 2)).astype(np.float32)
    label = np.zeros((40, 6), np.bool_)
    label[np.arange(40), features[:, :, 0].argmax(axis=1)] = True
    valid = np.ones_like(label)
    trainer.add(Lists(features=features, label=label, valid=valid))
    trainer.train()
    head = trainer.publish()
    replace(bundle, head=head).save(tmp_path)
    loaded = DynamicBundle.load(tmp_path).head
    assert loaded is not None
    np.testing.assert_array_equal(loaded.scores(features, valid), head.scores(features, valid))
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(CorruptBundle):
        DynamicBundle.load(tmp_path)


def test_a_bundle_without_a_head_has_none(bundle: DynamicBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    assert DynamicBundle.load(tmp_path).head is None
