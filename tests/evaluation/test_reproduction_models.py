"""The papers' models read what their names say, and nothing that came later."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import DynamicSettings, ExampleBatch, Trainer
from evaluation import Dataset
from evaluation.item_graph import USER, graph_of
from evaluation.reproduction.models import Bench, GraphForm, People, spread
from evaluation.reproduction.rows import Fitter, in_papers_form, rows_of
from evaluation.reproduction.worlds import offline_settings, plan_of
from static_layer import GraphSettings, StaticSettings
from static_layer.progress import silent
from tests.evaluation.worlds import DAY, random_dataset

ALL_EDGES = GraphSettings(max_degree=0)
AT = 40 * DAY


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quick() -> StaticSettings:
    settings = StaticSettings()
    return replace(
        settings,
        hgnn=replace(settings.hgnn, hidden=8, output=8, structure=4),
        train=replace(settings.train, epochs=1, batch_size=64, max_edges_per_epoch=128),
    )


def small_towers() -> DynamicSettings:
    towers = offline_settings()
    return replace(
        towers,
        towers=replace(towers.towers, layers=(16, 8)),
        loss=replace(towers.loss, uniform_negatives=16),
        replay=replace(towers.replay, capacity=2_000, history_cap=20),
    )


def bench(dataset: Dataset, at_ms: int = AT) -> Bench:
    text = np.eye(len(dataset.items), dtype=np.float32)
    people = People.unknown(len(dataset.users))
    return Bench(dataset, text, at_ms=at_ms, people=people, progress=silent)


def test_edges_count_the_users_who_streamed_both() -> None:
    dataset = random_dataset(0, events=300)
    found = graph_of(dataset, dataset.events, ALL_EDGES)
    users: dict[int, set[int]] = {}
    for user, item, strong in zip(
        dataset.events.user, dataset.events.item, dataset.events.strong, strict=True
    ):
        if strong:
            users.setdefault(int(found.items[item]), set()).add(int(user))
    expected = {
        (a, b): len(users[a] & users[b])
        for a in users
        for b in users
        if a < b and users[a] & users[b]
    }
    counted = {
        (min(left, right), max(left, right)): count
        for edges in found.graph.relations.values()
        for left, right, count in zip(
            edges.left.tolist(), edges.right.tolist(), edges.count.tolist(), strict=True
        )
    }
    assert counted == expected


def test_users_can_be_nodes_joined_to_what_they_streamed() -> None:
    dataset = random_dataset(1, events=300)
    found = graph_of(dataset, dataset.events, ALL_EDGES, users_too=True)
    joined = {
        (int(right), int(left)) if first == USER else (int(left), int(right))
        for (first, second), edges in found.graph.relations.items()
        if USER in (first, second)
        for left, right in zip(edges.left, edges.right, strict=True)
    }
    streams = dataset.events.where(dataset.events.strong)
    assert joined == {
        (int(found.items[item]), int(found.users[user]))
        for user, item in zip(streams.user, streams.item, strict=True)
    }


def test_a_relation_can_be_left_out() -> None:
    dataset = random_dataset(2)
    whole = graph_of(dataset, dataset.events, ALL_EDGES).graph.relations
    cut = graph_of(dataset, dataset.events, ALL_EDGES, without=[("book", "book")]).graph.relations
    assert set(whole) - set(cut) == {("book", "book")}


def test_a_bench_takes_no_event_of_the_future() -> None:
    with pytest.raises(ValueError, match="expected events before"):
        bench(random_dataset(3), at_ms=20 * DAY)


def test_an_hgnn_knows_nothing_after_its_graphs_end() -> None:
    dataset = random_dataset(4)
    form = GraphForm(static=quick(), until_ms=20 * DAY)
    known = dataset.events.where(dataset.events.timestamp < form.until_ms)
    of_all = bench(dataset).vectors(form, seed=1).items
    of_known = bench(replace(dataset, events=known)).vectors(form, seed=1).items
    np.testing.assert_array_equal(of_all, of_known)


def test_towers_learn_from_the_events_since_the_graphs_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, begin = random_dataset(5), 25 * DAY
    given: list[ExampleBatch] = []
    add = Trainer.add

    def spy(self: Trainer, batch: ExampleBatch) -> object:
        given.append(batch)
        return add(self, batch)

    monkeypatch.setattr(Trainer, "add", spy)
    monkeypatch.setattr("evaluation.reproduction.models._CHUNK", 100)
    bench(dataset).towers("text", small_towers(), examples_from_ms=begin, seed=1)
    times = np.concatenate([batch.timestamp for batch in given])
    assert times.tolist() == dataset.events.timestamp[dataset.events.timestamp >= begin].tolist()
    for batch in given:
        owner = np.repeat(np.arange(len(batch)), np.diff(batch.indptr))
        assert (batch.history_time < batch.timestamp[owner]).all()


def test_the_control_tells_new_items_and_old_counts_and_no_more() -> None:
    dataset = random_dataset(6)
    scalars = bench(dataset)._control(5 * DAY)
    old = dataset.events.item[dataset.events.timestamp < 5 * DAY]
    counts = np.bincount(old, minlength=len(dataset.items))
    assert (counts == 0).any()
    assert len(np.unique(scalars, axis=0)) == len(np.unique(counts))
    assert np.all(np.diff(scalars[np.argsort(counts, kind="stable"), 1]) >= 0)
    np.testing.assert_allclose(scalars.std(axis=0) * 12, 1.0, rtol=1e-4)


def test_every_row_of_a_plan_scores_every_item() -> None:
    dataset = random_dataset(7)
    plan = replace(
        plan_of("simulated"), types=("pod", "book"), example_days=10.0, hgnn=quick(),
        paper=in_papers_form(quick(), epochs=1, edges=128), towers=small_towers(), paper_epochs=0.5,
    )  # fmt: skip
    fitter = Fitter(bench=bench(dataset), plan=plan)
    users, items = np.arange(7), np.arange(len(dataset.items))
    scores = {row.name: row.fit(fitter, 1)(users, items) for row in rows_of(plan)}
    for name, found in scores.items():
        assert found.shape == (7, len(items)), name
        assert np.isfinite(found).all(), name
    # What a row's name says makes a difference; demand may be fitted to weigh nothing.
    same = {name for name, found in scores.items() if (found == scores["2t-hgnn"]).all()}
    assert same - {"2t-hgnn-demand"} == {"2t-hgnn"}


def test_a_model_of_one_type_puts_the_others_last() -> None:
    scorer = spread(lambda users, items: np.tile(items, (len(users), 1)) / 2, np.array([4, 2]), 6)
    assert scorer(np.arange(2), np.array([2, 3, 4])).tolist() == [[0.5, -1e9, 0.0]] * 2


def test_without_weak_signals_only_streams_are_known() -> None:
    assert bench(random_dataset(8)).without_weak().events.strong.all()
