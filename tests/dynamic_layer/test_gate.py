"""The gate refuses broken bundles and says why."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import DynamicBundle, GateSettings, IndexSettings, ItemIndex, Trainer, judge
from dynamic_layer.bundles.bundle import served_vectors

GATE = GateSettings()


def reasons(candidate: DynamicBundle, served: DynamicBundle, trainer: Trainer) -> str:
    return "; ".join(judge(candidate, served, trainer.holdout(), GATE).reasons)


def test_a_good_bundle_passes_with_and_without_one_in_use(
    trainer: Trainer, bundle: DynamicBundle
) -> None:
    assert judge(bundle, bundle, trainer.holdout(), GATE).reasons == []
    assert judge(bundle, None, trainer.holdout(), GATE).reasons == []


def test_weights_that_are_not_numbers_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    broken = trainer.publish()
    with torch.no_grad():
        next(broken.model.parameters()).fill_(torch.nan)
    assert "NaN" in reasons(broken, bundle, trainer)


def test_shuffled_vectors_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    shuffled = bundle.vectors[np.random.default_rng(0).permutation(len(bundle.vectors))]
    assert "item tower" in reasons(replace(bundle, vectors=shuffled), bundle, trainer)


def test_shuffled_item_keys_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    keys = np.random.default_rng(0).permutation(bundle.item_keys)
    assert "HR@10" in reasons(replace(bundle, item_keys=keys), bundle, trainer)


def test_collapsed_vectors_are_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    same = np.repeat(bundle.vectors[:1], len(bundle.vectors), axis=0)
    assert "cosine" in reasons(replace(bundle, vectors=same), bundle, trainer)


KINDS = [
    IndexSettings(),
    IndexSettings(ivf_above=20, storage="float32"),
    IndexSettings(ivf_above=20, storage="int4"),
]


def index_of(bundle: DynamicBundle, settings: IndexSettings) -> ItemIndex:
    index = ItemIndex(
        served_vectors(bundle.vectors, bundle.bias), bundle.features.type_number.numpy(), settings
    )
    assert all((built.lists > 0) == (settings.ivf_above == 20) for built in index.built.values())
    return index


@pytest.mark.parametrize("settings", KINDS)
def test_an_index_that_misses_items_is_refused(
    trainer: Trainer, bundle: DynamicBundle, settings: IndexSettings
) -> None:
    index = index_of(bundle, settings)
    assert reasons(replace(bundle, index=index), bundle, trainer) == ""
    index.remove(np.arange(0, len(bundle.vectors), 20))
    assert "recall" in reasons(replace(bundle, index=index), bundle, trainer)


@pytest.mark.parametrize("settings", KINDS[1:])
def test_lists_with_shuffled_item_ids_are_refused(
    trainer: Trainer, bundle: DynamicBundle, settings: IndexSettings
) -> None:
    index = index_of(bundle, settings)
    for built in index.built.values():
        vectors = index.vectors(built.rows)
        built.index.reset()
        shuffled = np.random.default_rng(0).permutation(built.rows)
        built.index.add_with_ids(built.coded(vectors), shuffled)
    assert "recall" in reasons(replace(bundle, index=index), bundle, trainer)


def test_a_bundle_that_ranks_worse_is_refused(trainer: Trainer, bundle: DynamicBundle) -> None:
    worse = trainer.publish()
    with torch.no_grad():
        for weights in worse.model.user.tower.parameters():
            weights.normal_(generator=torch.Generator().manual_seed(0))
    assert "HR@10" in reasons(worse, bundle, trainer)
