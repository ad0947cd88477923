"""What a bundle has in common with the one before it is shared, and not read again."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from agents.bundles.announcing import fetch_dynamic
from agents.bundles.models import Models
from dynamic_layer import DynamicBundle, Trainer
from dynamic_layer.bundles.shared_files import FEATURES, ITEMS, WEIGHTS
from state import ArtifactStore
from tests.dynamic_layer.worlds import SMALL, START_MS, Items, make_examples, make_items

ITEM_NAMES = ("item_keys", "item_ids", "item_types", "titles")


def made(items: Items) -> DynamicBundle:
    """A bundle of some items, with item-item weights."""
    trainer = Trainer(items, SMALL, seed=1)
    trainer.add(make_examples(items, 300))
    trainer.train(max_steps=2)
    bundle = trainer.publish()
    n = len(bundle.item_ids)
    return replace(bundle, weights={"ease": sp.csr_array(np.eye(n, dtype=np.float32))})


def published(store: ArtifactStore, name: str, bundle: DynamicBundle, scratch: Path) -> None:
    folder = scratch / "publish"
    folder.mkdir()
    bundle.save(folder)
    store.publish("dynamic", name, folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def bundle() -> DynamicBundle:
    return made(make_items())


@pytest.fixture
def store(tmp_path: Path, bundle: DynamicBundle) -> ArtifactStore:
    """Has g1, and g2 with other vectors of the same items."""
    store = ArtifactStore(str(tmp_path / "store"))
    published(store, "g1", bundle, tmp_path)
    later = replace(bundle, vectors=-bundle.vectors, manifest=bundle.manifest | {"generation": 2})
    published(store, "g2", later, tmp_path)
    return store


def test_a_later_bundle_of_the_same_items_shares_features_names_and_weights(
    tmp_path: Path, store: ArtifactStore, bundle: DynamicBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch_dynamic(store, "g1", tmp_path)
    read: list[str] = []
    get_file = store.get_file

    def noted(path: str, target: Path, expected: dict[str, object]) -> None:
        read.append(target.name)
        get_file(path, target, expected)

    monkeypatch.setattr(store, "get_file", noted)
    second = fetch_dynamic(store, "g2", tmp_path, first)
    assert "items.safetensors" in read
    assert not {FEATURES, ITEMS, WEIGHTS}.intersection(read)
    assert second.features is first.features
    assert second.weights is first.weights
    assert all(getattr(second, name) is getattr(first, name) for name in ITEM_NAMES)
    # What changed is its own.
    assert second.generation == 2
    np.testing.assert_array_equal(second.vectors, -bundle.vectors)


def test_a_bundle_of_other_items_shares_nothing(tmp_path: Path, store: ArtifactStore) -> None:
    other = make_items(len(make_items().item_ids) + 4)
    grown = made(other)
    published(store, "g3", grown, tmp_path)
    third = fetch_dynamic(store, "g3", tmp_path, fetch_dynamic(store, "g1", tmp_path))
    assert third.item_ids == grown.item_ids
    assert len(third.features) == len(third.vectors) == len(other.item_ids)
    assert third.weights["ease"].shape == (len(other.item_ids),) * 2
    np.testing.assert_array_equal(third.features.content, grown.features.content)


def test_weights_that_were_made_again_are_read(
    tmp_path: Path, store: ArtifactStore, bundle: DynamicBundle
) -> None:
    n = len(bundle.item_ids)
    renewed = {"ease": sp.csr_array(2 * np.eye(n, dtype=np.float32))}
    published(store, "g3", replace(bundle, weights=renewed), tmp_path)
    first = fetch_dynamic(store, "g1", tmp_path)
    third = fetch_dynamic(store, "g3", tmp_path, first)
    assert third.features is first.features
    assert third.weights["ease"].sum() == 2 * n


def test_bundles_that_are_not_from_a_store_share_nothing(
    tmp_path: Path, bundle: DynamicBundle
) -> None:
    bundle.save(tmp_path)
    loaded = DynamicBundle.load(tmp_path, bundle)
    assert loaded.features is not bundle.features
    assert loaded.weights is not bundle.weights


async def test_a_worker_shares_what_it_serves_with_the_next_bundle(
    tmp_path: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Models, "_warm_encoder", lambda *_: None)
    models = Models(store, tmp_path / "scratch", lambda: None, lambda: START_MS)  # type: ignore[arg-type, return-value]
    assert await models.load("g1")
    assert models.recommender is not None
    before = models.recommender.bundle
    assert await models.load("g2")
    assert models.generation == 2
    assert models.recommender.bundle.features is before.features
    assert models.recommender.bundle.weights is before.weights
