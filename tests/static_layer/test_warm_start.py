"""A new HGNN goes on from the last one's weights and vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from state import ArtifactStore
from static_layer import StaticBundle, StaticSettings, build, last_bundle
from static_layer.graph import build_graph
from static_layer.settings import HGNNSettings, TrainSettings
from static_layer.warm_start import averaged

from .conftest import Community, TableEncoder

SETTINGS = StaticSettings(
    hgnn=HGNNSettings(hidden=16, output=8, structure=8),
    train=TrainSettings(epochs=2, batch_size=512, negatives=32, fan_outs=(3, 3), device="cpu"),
)


@pytest.fixture(scope="module")
def first(community: Community) -> StaticBundle:
    return built(community, seed=1)


def built(
    community: Community, seed: int, last: StaticBundle | None = None, **changed: object
) -> StaticBundle:
    encoder = TableEncoder(community.text)
    if "fingerprint" in changed:
        encoder.fingerprint = str(changed.pop("fingerprint"))
    settings = replace(SETTINGS, **changed)  # type: ignore[arg-type]
    return build(community.merged, settings, seed=seed, last=last, encoder=encoder)  # type: ignore[arg-type]


def likeness(one: StaticBundle, other: StaticBundle) -> float:
    """Mean cosine of the items' vectors in two bundles, as they are."""
    met = one.users > 0
    return float((one.hgnn * other.hgnn).sum(axis=1)[met].mean())


def distances(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors @ vectors.T


def test_the_space_stays_with_another_seed(community: Community, first: StaticBundle) -> None:
    fresh = built(community, seed=2)
    warm = built(community, seed=2, last=first, keep=0.0)
    kept = built(community, seed=2, last=first, keep=0.5)
    assert 1 - likeness(first, warm) < (1 - likeness(first, fresh)) / 2
    assert likeness(first, kept) > likeness(first, warm)
    assert warm.manifest["goes_on_from"] == kept.manifest["goes_on_from"] == first.name
    assert fresh.manifest["goes_on_from"] is None
    cold = (first.cold(community.text) * kept.cold(community.text)).sum(axis=1).mean()
    fresh_cold = (first.cold(community.text) * fresh.cold(community.text)).sum(axis=1).mean()
    assert cold > fresh_cold + 0.3, "items that come later are in the same space"


@pytest.mark.parametrize(
    "changed",
    [
        {"warm_start": False},
        {"recipe": "paper"},
        {"hgnn": replace(SETTINGS.hgnn, text_gain=4.0)},
        {"fingerprint": "another text model"},
    ],
    ids=["switched off", "paper", "another shape", "another text model"],
)
def test_what_does_not_fit_begins_anew(
    community: Community, first: StaticBundle, changed: dict[str, object]
) -> None:
    if changed.get("recipe") == "paper":
        changed = changed | {"train": replace(SETTINGS.train, max_seconds=1e-9)}
    anew = built(community, seed=2, last=first, **changed)
    assert anew.manifest["goes_on_from"] is None
    if "train" not in changed:
        assert np.array_equal(anew.hgnn, built(community, seed=2, **changed).hgnn)


def test_other_types_and_older_bundles_begin_anew(
    community: Community, first: StaticBundle, tmp_path: Path
) -> None:
    kinds = first.items["item_type"].str.replace(first.item_types[0], "radio")
    other = StaticBundle(
        first.items.with_columns(kinds), first.text, first.hgnn, first.model, first.manifest,
        structure=first.structure,
    )  # fmt: skip
    assert built(community, seed=1, last=other).manifest["goes_on_from"] is None
    older = replace(first, structure=None)
    older.save(tmp_path / "older")
    read = StaticBundle.load(tmp_path / "older")
    assert read.structure is None
    assert built(community, seed=1, last=read).manifest["goes_on_from"] is None


def test_vectors_of_both_are_averaged_and_others_stay(
    community: Community, first: StaticBundle
) -> None:
    merged = community.merged
    graph = build_graph(merged.co_interactions, merged.catalogue, SETTINGS.graph)
    new = built(community, seed=2).hgnn
    known = graph.users > 0
    whole = averaged(new, first, graph, 1.0)
    np.testing.assert_allclose(distances(whole[known]), distances(first.hgnn[known]), atol=1e-4)
    half = averaged(new, first, graph, 0.5)
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-5)
    to_new, between = (half * new).sum(axis=1)[known], (whole * new).sum(axis=1)[known]
    np.testing.assert_allclose(to_new, np.sqrt((1 + between) / 2), atol=1e-4)
    without = np.flatnonzero(known)[::2]
    gone = np.setdiff1d(np.arange(len(new)), without)
    fewer = StaticBundle(
        first.items[gone], first.text[gone], first.hgnn[gone], first.model, first.manifest,
    )  # fmt: skip
    assert np.array_equal(averaged(new, fewer, graph, 0.5)[without], new[without])


def test_the_newest_whole_bundle_of_the_store_is_gone_on_from(
    first: StaticBundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ArtifactStore(str(tmp_path / "store"))
    assert last_bundle(store) is None
    first.save(tmp_path / "bundle")
    store.publish("static", "000000000000001", tmp_path / "bundle")
    found = last_bundle(store)
    assert found is not None
    assert first.structure is not None
    assert np.array_equal(found.structure, first.structure)
    assert np.array_equal(found.hgnn, first.hgnn)
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    store.publish("static", "000000000000002", tmp_path / "bundle")
    assert last_bundle(store) is None
    assert "starts with new weights" in caplog.text
