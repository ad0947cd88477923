"""The trainer's benchmark: what it counts as bare products, and that it measures."""

import json

import pytest
import torch

from benchmarks.trainer import TrainerPlan, _bare, _products, run
from dynamic_layer import recipe


def test_the_products_are_those_of_the_towers():
    plan = TrainerPlan()
    found = _products(recipe("paper"), plan)
    # Item tower: 384 + 128 of content, 32 of names; no uniform negatives in a batch of 128.
    assert found[:3] == [(128, 544, 512, 32), (128, 512, 256, 512), (128, 256, 128, 256)]
    assert [product[2] for product in found[3:]] == [512, 256, 128, 128]
    assert found[3][3] == 24, "of a user, country and age are learned, and no pool is"
    assert found[-1] == (128, 128, 128, 128)
    short = _products(recipe("default"), plan)
    assert (512, 512, 128, 0) in short, "content has no gradient"
    assert (256 * plan.types * 4, 512, 128, 0) in short, "each pool goes through the short cut"


def test_the_bare_step_computes_what_a_linear_layer_does():
    torch.manual_seed(0)
    step, flops = _bare([(5, 4, 3, 2), (5, 4, 3, 0)], seed=1)
    step()
    assert flops == 2 * 5 * 3 * (2 * 4 + 2 + 2 * 4)
    parts = step.__closure__[0].cell_contents
    x, w, g, (y, dw, dx) = parts[0]
    layer = torch.nn.Linear(4, 3, bias=False)
    layer.weight = torch.nn.Parameter(w.T.clone())
    inputs = x.clone().requires_grad_()
    out = layer(inputs)
    out.backward(g)
    torch.testing.assert_close(out, y)
    torch.testing.assert_close(layer.weight.grad.T, dw)
    torch.testing.assert_close(inputs.grad[:, :2], dx)


def test_it_writes_rates_and_their_ratio(tmp_path):
    plan = TrainerPlan(items=500, history=5, steps=1, repeat=3)
    report = run(plan, tmp_path / "trainer.json")
    assert json.loads((tmp_path / "trainer.json").read_text()) == report
    assert report["ratio"] == pytest.approx(
        report["examples_per_second"] / report["bare_examples_per_second"], rel=0.9
    )
    low, high = report["ratio_range"]
    assert 0 < low <= report["ratio"] <= high
