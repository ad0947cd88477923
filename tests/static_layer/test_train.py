"""Training finds what text does not show, stops in time, and repeats itself by seed."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from static_layer.graph import HeteroGraph, build_graph
from static_layer.infer import item_vectors
from static_layer.settings import GraphSettings, HGNNSettings, TrainSettings
from static_layer.train import sampler_factory, train

from .conftest import Community

MODEL = HGNNSettings(hidden=32, output=32)
QUICK = TrainSettings(
    epochs=12, batch_size=256, negatives=64, fan_outs=(5, 5), learning_rate=5e-3, margin=0.2
)


@pytest.fixture(scope="module")
def graph(community: Community) -> HeteroGraph:
    merged = community.merged
    return build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=8))


def purity(vectors: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Share of the 5 nearest items that are of the item's own community."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1)[:, :5]
    return float((label[nearest] == label[:, None]).mean())


@pytest.mark.parametrize(
    "settings",
    [
        replace(QUICK, loss="hinge"),
        QUICK,
        replace(QUICK, in_batch=True, edge_draw="cosine"),
    ],
    ids=["hinge", "contrastive", "in batch"],
)
def test_the_graph_tells_communities_apart_better_than_text(
    graph: HeteroGraph, community: Community, settings: TrainSettings
) -> None:
    training = train(graph, community.text, MODEL, settings, seed=0)
    vectors = item_vectors(training.model, graph, training.features)
    assert purity(vectors, community.label) > 1.5 * purity(community.text, community.label)
    if settings.loss == "hinge":
        return  # it places items without edges now better, now worse than their text, by seed
    with torch.no_grad():
        cold = training.model.cold(torch.from_numpy(community.text)).numpy()
    assert purity(cold, community.label) > purity(community.text, community.label)


@pytest.mark.dgl
def test_dgl_teaches_as_well_as_torch(graph: HeteroGraph, community: Community) -> None:
    pytest.importorskip("dgl", reason="the dgl extra is not installed")
    scores = []
    for name in ("torch", "dgl"):
        training = train(graph, community.text, MODEL, replace(QUICK, sampler=name), seed=0)
        vectors = item_vectors(training.model, graph, training.features)
        scores.append(purity(vectors, community.label))
    assert scores[0] == pytest.approx(scores[1], rel=0.15)


def test_equal_seeds_give_equal_models(graph: HeteroGraph, community: Community) -> None:
    settings = replace(QUICK, epochs=2)
    one, two, other = (
        train(graph, community.text, MODEL, settings, seed=seed) for seed in (4, 4, 5)
    )
    assert one.validation_mrr == two.validation_mrr
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, two.model.state_dict()[name])
    assert one.loss != other.loss


def test_training_does_not_touch_torchs_global_generator(
    graph: HeteroGraph, community: Community
) -> None:
    before = torch.random.get_rng_state()
    train(graph, community.text, MODEL, replace(QUICK, epochs=1), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_patience_ends_training_and_the_best_epoch_is_kept(
    graph: HeteroGraph, community: Community
) -> None:
    # A rate of zero never improves on the first epoch.
    settings = replace(QUICK, learning_rate=0.0, epochs=50, patience=3)
    training = train(graph, community.text, MODEL, settings, seed=0)
    assert (training.stopped_by, training.epochs, training.best_epoch) == ("patience", 4, 1)


def test_the_clock_is_an_emergency_stop_that_is_reported(
    graph: HeteroGraph, community: Community, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = count()
    settings = replace(QUICK, max_seconds=5)
    training = train(
        graph, community.text, MODEL, settings, seed=0, clock=lambda: float(next(ticks))
    )
    assert training.stopped_by == "clock"
    assert "max_seconds = 5 stopped the training in epoch 2 of 12" in caplog.text
    assert 5 * QUICK.batch_size < training.edges_seen <= 6 * QUICK.batch_size


def test_a_graph_without_edges_gives_the_untrained_model(
    graph: HeteroGraph, community: Community
) -> None:
    alone = graph.without({pair: np.arange(len(edges)) for pair, edges in graph.relations.items()})
    training = train(alone, community.text, MODEL, QUICK, seed=0)
    assert (training.stopped_by, training.epochs) == ("no edges", 0)


def test_a_graph_too_small_to_hold_edges_back_still_learns(
    graph: HeteroGraph, community: Community
) -> None:
    few = graph.without({pair: np.arange(5, len(edges)) for pair, edges in graph.relations.items()})
    training = train(few, community.text, MODEL, QUICK, seed=0)
    assert np.isnan(training.validation_mrr)
    assert training.best_epoch > 1


def test_a_loss_that_is_not_finite_stops_the_job(graph: HeteroGraph, community: Community) -> None:
    broken = community.text.copy()
    broken[3] = np.nan
    with pytest.raises(FloatingPointError, match="learning_rate"):
        train(graph, broken, MODEL, QUICK, seed=0)


def test_progress_names_epochs_loss_and_validation(
    graph: HeteroGraph, community: Community
) -> None:
    seen = []
    train(
        graph,
        community.text,
        MODEL,
        replace(QUICK, epochs=2),
        seed=0,
        progress=lambda stage, done, total, figures=None: seen.append(
            (stage, done, total, set(figures or ()))
        ),
    )
    assert seen == [
        ("structure", 0, 1, set()),
        ("structure", 1, 1, set()),
        ("hgnn", 0, 2, set()),
        *(("hgnn", epoch, 2, {"loss", "mrr", "best"}) for epoch in (1, 2)),
    ]


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="torch or dgl"):
        sampler_factory("tensorflow")
