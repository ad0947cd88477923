"""Towers that keep what they learned when item types come or go."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynamic_layer.items.features import SIGNALS_PER_TYPE
from dynamic_layer.towers.two_tower import TwoTower, UserTower


def grow_towers(
    old: TwoTower, fresh: TwoTower, before: Sequence[str], after: Sequence[str]
) -> bool:
    """Copy what old towers learned into fresh ones of other types; return whether that is possible.

    before, after: names of the types, by number. What belongs to a type that only the fresh towers
    have stays as it is. It is not possible where histories are pooled for each type in one of the
    two and over all types in the other, or where no type is common.
    """
    place = {name: number for number, name in enumerate(before)}
    pairs = [(number, place[name]) for number, name in enumerate(after) if name in place]
    together = old.user.item_types is not None, fresh.user.item_types is not None
    if not pairs or together[0] != together[1]:
        return False
    to, of = (torch.tensor(numbers) for numbers in zip(*pairs, strict=True))
    by_type = {"item.item_type.weight", "user.item_types.weight"}
    learned, states = old.state_dict(), fresh.state_dict()
    with torch.no_grad():
        for name, state in states.items():
            if name in by_type:
                state[to] = learned[name][of]
            elif state.shape == learned[name].shape:
                state.copy_(learned[name])
        if old.user.item_types is None:
            _grow_pools(old.user, fresh.user, to, of)
    return True


def _grow_pools(old: UserTower, fresh: UserTower, to: Tensor, of: Tensor) -> None:
    """Copy the parts of the user tower that read the pools of each type."""
    shares = old.share.view(old.groups, -1)
    # A new type's pools begin with the shares of an average type.
    grown = shares.mean(dim=0).repeat(fresh.groups, 1)
    grown[to] = shares[of]
    fresh.share.copy_(grown.flatten())
    rest = old.country.embedding_dim + old.user_age.embedding_dim
    wide = _first_weights(old), _first_weights(fresh)
    pools = (wide[0].shape[1] - rest) // old.groups - SIGNALS_PER_TYPE
    begin, fresh_begin = 0, 0
    for width in (pools, SIGNALS_PER_TYPE):
        learned = wide[0][:, begin : begin + old.groups * width]
        part = wide[1][:, fresh_begin : fresh_begin + fresh.groups * width]
        # Views: an assignment changes the tower.
        of_old, of_fresh = (w.view(len(w), -1, width) for w in (learned, part))
        of_fresh[:, to] = of_old[:, of]
        begin, fresh_begin = begin + old.groups * width, fresh_begin + fresh.groups * width
    wide[1][:, fresh_begin:] = wide[0][:, begin:]  # what does not depend on types


def _first_weights(user: UserTower) -> Tensor:
    """Return the weights of the first layer, f32 [out, in]; changes to them change the tower."""
    first = user.tower[0]
    if not isinstance(first, nn.Linear):
        raise TypeError(f"expected a linear layer in front, got {type(first).__name__}")
    return first.weight
