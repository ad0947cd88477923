"""Candidates of several sources become one list."""

from dataclasses import replace

import numpy as np

from dynamic_layer.counts.moments import Histories
from dynamic_layer.examples.replay import pad
from dynamic_layer.head.candidates import NONE, Union
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import asked_of, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.demand import DemandReader
from tests.dynamic_layer.headed import HEADED, headed, live_of


def test_union_keeps_the_order_of_sources(history: Histories) -> None:
    lists = [np.array([[5, 1, 4], [NONE, 7, 7]]), np.array([[4, 6], [0, 2]])]
    for limit, expected in ((10, [[5, 4, 6], [7, 0, 2]]), (2, [[5, 4], [7, 0]])):
        found = Union(history, limit=limit, items=8)
        for own in lists:
            found.add(own)
        assert found.rows.tolist() == expected
        assert found.rows.flags.c_contiguous, "kernels are compiled for such rows"


def test_what_histories_point_to_does_not_cut_what_is_in_demand() -> None:
    """Where items live for hours, histories point to what is gone."""
    bundle = headed().bundle
    settings = ranking_settings(bundle)
    assert settings is not None
    few = replace(settings, towers=1, weak=0, demand=1, limit=10)
    asked = pad(headed().examples.take(np.arange(1_900, 1_940)), HEADED.replay.history_cap, 0)
    rows = ItemRows(bundle.item_keys)
    halves = settings.demand_half_lives_days
    demand = DemandReader(live_of(headed().examples), rows, len(bundle.item_keys), halves).at(
        int(asked.timestamp.min())
    )
    users, number = asked_of(bundle, asked, rows), bundle.features.type_number.numpy()
    maker, cut = ListMaker(bundle, few), 0
    found = maker.propose(users, 0, demand).rows
    every = ListMaker(bundle, replace(few, limit=100)).propose(users, 0, demand).rows
    for user in range(len(users)):
        wanted = {
            next(row for row in order.tolist() if number[row] == 0) for order in demand.order.T
        }
        assert wanted - set(users.met[user].tolist()) <= set(found[user].tolist())
        cut += int((every[user] != NONE).sum() > 10)
    assert cut > 10, "histories point to more than there are places"
