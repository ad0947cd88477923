"""The two towers: users and items of every type in one space (paper B, 2T; paper A, unified).

The loss is a sampled softmax over the items of a batch and uniform negatives.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag, normalize

from dynamic_layer.items.features import (
    AGES,
    COUNTRIES,
    GENRES,
    LANGUAGES,
    SIGNALS_PER_TYPE,
    ItemFeatures,
    UserFeatures,
    pool_history,
)
from dynamic_layer.settings import TowerSettings
from dynamic_layer.towers.layers import ByteDropout, FirstLayer

TYPE_WIDTH = 16  # of an item type's vector in the user tower


class Tower(nn.Sequential):
    """Linear layers with ReLUs between them, over vectors that are fixed and others that learn."""

    def __init__(self, width: int, layers: Sequence[int]) -> None:
        """width: of both kinds of input together; layers: widths of the layers."""
        parts: list[nn.Module] = []
        for out in layers:
            parts += [nn.Linear(width, out) if parts else FirstLayer(width, out), nn.ReLU()]
            width = out
        super().__init__(*parts[:-1])

    def forward(self, fixed: Tensor, learned: Tensor) -> Tensor:  # type: ignore[override]
        """Return f32 [b, d] of inputs side by side; see FirstLayer."""
        first, *others = self
        hidden: Tensor = first(fixed, learned)
        for layer in others:
            hidden = layer(hidden)
        return hidden


class UserTower(nn.Module):
    """Country, age, and the history pooled per item type, to a unit vector.

    With more types than `separate_types` the history is pooled over all types together, beside
    the mean vector of its items' types: the tower does not grow with the number of types.

    The short cut (ours) adds the weighted mean of the projected pools to what the layers give:
    with the item tower's short cut it makes a nearest-neighbour model of the start, which the
    layers then correct. The papers' form has none, and its layers read the pools as they are.
    """

    def __init__(
        self, content: int, types: int, settings: TowerSettings, short_cut: nn.Module | None
    ) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.half_lives, self.short_cut = settings.half_lives_days, short_cut
        separate = types <= settings.separate_types
        self.groups = types if separate else 1
        pools = self.groups * (2 + len(self.half_lives))
        self.country, self.user_age = nn.Embedding(COUNTRIES, 16), nn.Embedding(AGES, 8)
        self.dropout = ByteDropout(settings.dropout)
        width = settings.layers[-1] if short_cut else content
        self.item_types = None if separate else nn.Embedding(types, TYPE_WIDTH)
        person = 24 if separate else 24 + TYPE_WIDTH
        self.tower = Tower(pools * width + self.groups * SIGNALS_PER_TYPE + person, settings.layers)
        self.share = nn.Parameter(torch.full((pools,), 1 / pools))

    def forward(self, users: UserFeatures, content: Tensor, type_number: Tensor) -> Tensor:
        """Return user vectors, f32 [b, d], of length one.

        content, type_number: of all items that a history may name, f32 [n, c] and i64 [n].
        """
        pools, signals = self._pools(users, content, type_number)
        pools = self.short_cut(pools) if self.short_cut else pools
        return self._vector(users, pools, signals, type_number)

    def prepared(self, content: Tensor) -> Tensor:
        """Return of items what `of_prepared` pools, f32 [n, c or d].

        The short cut is linear: it may come before the pools, once for each item, as well as behind
        them, for each pool of each user. Training cannot, whose short cut changes with every step.
        """
        return self.short_cut(content) if self.short_cut else content

    def of_prepared(self, users: UserFeatures, prepared: Tensor, type_number: Tensor) -> Tensor:
        """Return what `forward` does, of items that were prepared."""
        pools, signals = self._pools(users, prepared, type_number)
        return self._vector(users, pools, signals, type_number)

    def _pools(
        self, users: UserFeatures, content: Tensor, type_number: Tensor
    ) -> tuple[Tensor, Tensor]:
        return pool_history(
            users, content, type_number if self.item_types is None else None,
            types=self.groups, half_lives_days=self.half_lives,
        )  # fmt: skip

    def _vector(
        self, users: UserFeatures, pools: Tensor, signals: Tensor, type_number: Tensor
    ) -> Tensor:
        history = self.dropout(torch.cat([pools.flatten(1), signals.flatten(1)], dim=1))
        person = [self.country(users.country), self.user_age(users.age)]
        if self.item_types is not None:
            person.append(_mean_types(users.history, type_number, self.item_types))
        learned = self.dropout(torch.cat(person, dim=1))
        if history.requires_grad:  # through the short cut
            history, learned = history[:, :0], torch.cat([history, learned], dim=1)
        vector = self.tower(history, learned)
        if self.short_cut:
            vector = vector + torch.einsum("bpd,p->bd", pools.flatten(1, 2), self.share)
        return normalize(vector)


def _mean_types(history: Tensor, type_number: Tensor, vectors: nn.Embedding) -> Tensor:
    """Return the mean vector of the types in each history, f32 [b, w]; zero without history."""
    known = history >= 0
    number = torch.where(known, type_number[history.clamp(min=0)], 0)
    share = known / known.sum(dim=1, keepdim=True).clamp(min=1)
    return embedding_bag(number, vectors.weight, mode="sum", per_sample_weights=share)


class ItemTower(nn.Module):
    """Type, language, genres, text and HGNN vector, to a unit vector."""

    def __init__(
        self, content: int, types: int, settings: TowerSettings, short_cut: nn.Module | None
    ) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.item_type, self.language = nn.Embedding(types, 8), nn.Embedding(LANGUAGES, 8)
        self.genre = nn.EmbeddingBag(GENRES, 16, mode="mean", padding_idx=0)
        self.tower = Tower(content + 32, settings.layers)
        self.short_cut = short_cut

    def forward(self, items: ItemFeatures) -> Tensor:
        """Return item vectors, f32 [m, d], of length one."""
        names = [self.item_type(items.type_number), self.language(items.language)]
        learned = torch.cat([*names, self.genre(items.genres)], dim=1)
        vector = self.tower(items.content, learned)
        return normalize(vector + self.short_cut(items.content) if self.short_cut else vector)


class TwoTower(nn.Module):
    """Both towers; the affinity of a user and an item is cosine / temperature."""

    def __init__(self, content: int, types: int, settings: TowerSettings) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.temperature = settings.temperature
        width = settings.layers[-1]
        short_cut = nn.Linear(content, width, bias=False) if settings.short_cut else None
        self.user = UserTower(content, types, settings, short_cut)
        self.item = ItemTower(content, types, settings, short_cut)

    def item_vectors(self, items: ItemFeatures, chunk: int = 16_384) -> Tensor:
        """Return the vectors of all items, f32 [n, d], computed in chunks without gradients."""
        with torch.no_grad():
            parts = [
                self.item(items.take(torch.arange(start, min(start + chunk, len(items)))))
                for start in range(0, len(items), chunk)
            ]
        return torch.cat(parts)


def candidates(target: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows among targets and uniform negatives, and each target's place.

    An item that occurs twice competes once, so no example has its own target as a negative.

    >>> rows, place = candidates(torch.tensor([7, 3, 7]), torch.tensor([3, 9]))
    >>> rows.tolist(), place.tolist()
    ([3, 7, 9], [1, 0, 1])
    """
    rows, place = torch.unique(torch.cat([target, uniform]), return_inverse=True)
    return rows, place[: len(target)]


def inclusion_log_q(frequency: Tensor, batch_size: int) -> Tensor:
    """Return the log-probability that each item is in a batch, f32 [m].

    frequency: share of the examples that have the item as target, f32 [m]; q = 1 - (1 - f) ** b.
    """
    return torch.log(-torch.expm1(batch_size * torch.log1p(-frequency.clamp(1e-9, 1 - 1e-6))))


def sampled_softmax(
    users: Tensor,
    items: Tensor,
    place: Tensor,
    weight: Tensor,
    *,
    temperature: float,
    log_q: Tensor | None = None,
    later: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the weighted mean cross-entropy of each user's target among all candidates.

    users: f32 [b, d]; items: f32 [m, d]; place: i64 [b], targets' rows in items; weight: f32 [b].
    log_q: f32 [m], subtracted from the logits (paper B's correction); None learns affinity.
    later: pairs of rows of users, i64 [p] each: the target of the second is the first user's own
    next item, and does not compete with the first one's target.
    """
    logits = users @ items.T / temperature
    if later is not None:
        earlier, own = later[0], place[later[1]]
        apart = own != place[earlier]
        masked = torch.zeros_like(logits, dtype=torch.bool)
        masked[earlier[apart], own[apart]] = True
        logits = logits.masked_fill(masked, -torch.inf)
    if log_q is not None:
        logits = logits - log_q
    losses = cross_entropy(logits, place, reduction="none")
    return (losses * weight).sum() / weight.sum().clamp(min=1e-6)
