"""Layers of the towers do what torch's do, with less to multiply."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dynamic_layer.towers.layers import ByteDropout, FirstLayer


@pytest.mark.parametrize("fixed_width", [0, 5, 12])
def test_the_first_layer_is_a_linear_layer_over_both_inputs(fixed_width: int) -> None:
    torch.manual_seed(0)
    layer, plain = FirstLayer(12, 7), nn.Linear(12, 7)
    plain.load_state_dict(layer.state_dict())
    inputs, goal = torch.randn(9, 12), torch.randn(9, 7)
    fixed = inputs[:, :fixed_width].clone()
    learned = inputs[:, fixed_width:].clone().requires_grad_()
    both = inputs.clone().requires_grad_()
    found = layer(fixed, learned)
    torch.testing.assert_close(found, plain(both))
    functional.mse_loss(found, goal).backward()
    functional.mse_loss(plain(both), goal).backward()
    torch.testing.assert_close(learned.grad, both.grad[:, fixed_width:])
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad)
    assert fixed.grad is None


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(1)
    layer, inputs = ByteDropout(share), torch.ones(301, 997, requires_grad=True)
    out = layer(inputs)
    zeros = (out == 0).float()
    assert zeros.mean().item() == pytest.approx(share, abs=0.004)
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    for dim in (0, 1):  # no column, row or place in a draw is favoured
        spread = zeros.mean(dim=dim).sub(zeros.mean()).abs().max().item()
        assert spread < 6 * (share * (1 - share) / zeros.shape[dim]) ** 0.5
    by_byte = zeros.flatten()[: zeros.numel() // 8 * 8].view(-1, 8).mean(dim=0)
    torch.testing.assert_close(by_byte, torch.full((8,), layer.dropped / 256), atol=0.01, rtol=0)
    out.sum().backward()
    torch.testing.assert_close(inputs.grad, out.detach())
    again = layer(inputs)
    assert not torch.equal(again, out)
    assert layer.eval()(inputs) is inputs
    assert ByteDropout(0.0)(inputs) is inputs


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a share"):
        ByteDropout(1.0)
