"""One trained trainer and its bundle, shared by the tests that only read them."""

import numpy as np
import pytest
import torch

from dynamic_layer import DynamicBundle, Trainer
from dynamic_layer.counts.moments import Histories
from tests.dynamic_layer.worlds import SMALL, Items, make_examples, make_items


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors: a second thread would only wait for the first."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def items() -> Items:
    return make_items()


@pytest.fixture(scope="session")
def trainer(items: Items) -> Trainer:
    trainer = Trainer(items, SMALL, seed=7, clock_ms=lambda: 1_000)
    trainer.add(make_examples(items, 6_000))
    trainer.train()
    return trainer


@pytest.fixture(scope="session")
def bundle(trainer: Trainer) -> DynamicBundle:
    return trainer.publish()


@pytest.fixture
def history() -> Histories:
    """Two items, and a user without any."""
    return Histories(
        indptr=np.array([0, 2, 2]),
        item=np.array([0, 1]),
        age_days=np.array([1.0, 2.0], np.float32),
    )
