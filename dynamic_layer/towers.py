"""The two towers: users and items of every type in one space (paper B, 2T; paper A, unified)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dynamic_layer.features import (
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


def _tower(width: int, layers: Sequence[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for out in layers:
        parts += [nn.Linear(width, out), nn.ReLU()]
        width = out
    return nn.Sequential(*parts[:-1])


class UserTower(nn.Module):
    """Country, age, and the history pooled per item type, to a unit vector."""

    def __init__(self, content: int, types: int, settings: TowerSettings) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.types, self.half_lives = types, settings.half_lives_days
        width = settings.history_width or content
        self.project = nn.Linear(content, width, bias=False) if settings.history_width else None
        self.country, self.user_age = nn.Embedding(COUNTRIES, 16), nn.Embedding(AGES, 8)
        pooled = types * ((2 + len(self.half_lives)) * width + SIGNALS_PER_TYPE)
        self.dropout = nn.Dropout(settings.dropout)
        self.tower = _tower(pooled + 24, settings.layers)

    def forward(self, users: UserFeatures, content: Tensor, type_number: Tensor) -> Tensor:
        """Return user vectors, f32 [b, d], of length one.

        content, type_number: of all items that a history may name, f32 [n, c] and i64 [n].
        """
        pools, signals = pool_history(
            users, content, type_number, types=self.types, half_lives_days=self.half_lives
        )
        if self.project is not None:
            pools = self.project(pools)
        inputs = [pools.flatten(1), signals.flatten(1), self.country(users.country)]
        return normalize(
            self.tower(self.dropout(torch.cat([*inputs, self.user_age(users.age)], 1)))
        )


class ItemTower(nn.Module):
    """Type, language, genres, text and HGNN vector, to a unit vector."""

    def __init__(self, content: int, types: int, settings: TowerSettings) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.item_type, self.language = nn.Embedding(types, 8), nn.Embedding(LANGUAGES, 8)
        self.genre = nn.EmbeddingBag(GENRES, 16, mode="mean", padding_idx=0)
        self.tower = _tower(content + 32, settings.layers)

    def forward(self, items: ItemFeatures) -> Tensor:
        """Return item vectors, f32 [m, d], of length one."""
        names = [self.item_type(items.type_number), self.language(items.language)]
        return normalize(
            self.tower(torch.cat([items.content, *names, self.genre(items.genres)], 1))
        )


class TwoTower(nn.Module):
    """Both towers; the affinity of a user and an item is cosine / temperature."""

    def __init__(self, content: int, types: int, settings: TowerSettings) -> None:
        """content: width of an item's content; types: number of item types."""
        super().__init__()
        self.temperature = settings.temperature
        self.user = UserTower(content, types, settings)
        self.item = ItemTower(content, types, settings)

    def item_vectors(self, items: ItemFeatures, chunk: int = 16_384) -> Tensor:
        """Return the vectors of all items, f32 [n, d], computed in chunks without gradients."""
        with torch.no_grad():
            parts = [
                self.item(items.take(torch.arange(start, min(start + chunk, len(items)))))
                for start in range(0, len(items), chunk)
            ]
        return torch.cat(parts)
