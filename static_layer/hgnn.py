"""HGNN: one vector space for items of every type (paper B, section on the HGNN)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from static_layer.blocks import Block, edgeless
from static_layer.gather_max import gather_max
from static_layer.seeding import undrawn
from static_layer.settings import HGNNSettings

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
}


class RelationMax(nn.Module):
    """One round: sigma(W_c h_c + sum over relations r of max over neighbours of sigma(W_r h + b)).

    The outer sigma, `update`, may be left out.

    W_c is shared by all item types, so that items of a type that was never seen have a vector
    too. A relation has one W_r for each direction.

    In a folded graph (ours) a node hears its own type and the other types: two W_r. The types of
    sender and receiver are in the message by a learned vector of each, added to W_r h + b, so
    that the number of types costs no computation (ADR 0042).
    """

    def __init__(
        self,
        width: int,
        output: int,
        types: int,
        activation: str,
        *,
        folded: bool = False,
        activated: bool = True,
    ) -> None:
        """Draw the weights from torch's generator.

        folded: see HeteroGraph; activated: whether sigma is applied to what a round gives.
        """
        super().__init__()
        self.kinds, self.sigma = 2 if folded else types, ACTIVATIONS[activation]
        self.update = self.sigma if activated else _unchanged
        self.own = nn.Linear(width, output)
        groups = 1 if folded else types
        self.relations = nn.ModuleList(nn.Linear(width, output) for _ in range(groups * self.kinds))
        self.senders = nn.ModuleList(_zeros(types, output) for _ in range(2 * folded))
        self.receivers = nn.ModuleList(_zeros(types, output) for _ in range(2 * folded))

    def forward(self, h: Tensor, block: Block) -> Tensor:
        """Return f32[n_targets, output] from the sources' f32[n, width]."""
        total: Tensor = self.own(h[: block.n_targets])
        for relation in block.relations:
            messages = self.messages(
                relation.target_group, relation.source_kind,
                h[relation.sources], block.types[relation.sources],
            )  # fmt: skip
            heard = self.heard(
                relation.source_kind, messages, relation.indptr, relation.indices,
                block.types[relation.targets],
            )  # fmt: skip
            total = total.index_add(0, relation.targets, heard)
        return self.update(total)

    def messages(self, target_group: int, source_kind: int, h: Tensor, types: Tensor) -> Tensor:
        """Return W_r h + b of senders, f32[s, output], before sigma; types: i64[s], theirs."""
        messages: Tensor = self.relations[target_group * self.kinds + source_kind](h)
        return messages + self.senders[source_kind](types) if self.senders else messages

    def heard(
        self, source_kind: int, messages: Tensor, indptr: Tensor, indices: Tensor, types: Tensor
    ) -> Tensor:
        """Return max over neighbours of sigma(message), see gather_max; types: of the targets."""
        # sigma is monotone, so it may follow the maximum: fewer values to compute. The
        # receiver's vector is the same for all of its neighbours, so it may follow too.
        best = gather_max(messages, indptr, indices)
        return self.sigma(best + self.receivers[source_kind](types) if self.receivers else best)


def _unchanged(values: Tensor) -> Tensor:
    return values


def _zeros(types: int, width: int) -> nn.Embedding:
    """Return a vector of each type that begins at zero: all types share W_r until they differ."""
    embedding = nn.Embedding(types, width)
    nn.init.zeros_(embedding.weight)
    return embedding


class HGNN(nn.Module):
    """Rounds of RelationMax on the items' features; unit vectors out, so dot = cosine."""

    def __init__(
        self, text_width: int, types: int, settings: HGNNSettings, *, folded: bool = False
    ) -> None:
        """Draw the weights from torch's generator; folded: whether it is for a folded graph."""
        super().__init__()
        self.text_width, self.types, self.settings = text_width, types, settings
        self.folded = folded
        inner = [settings.hidden] * (settings.layers - 1)
        widths = [text_width + settings.structure, *inner, settings.output]
        self.layers = nn.ModuleList(
            RelationMax(
                width,
                output,
                types,
                settings.activation,
                folded=folded,
                activated=settings.last_activation or number + 1 < settings.layers,
            )
            for number, (width, output) in enumerate(pairwise(widths))
        )

    @property
    def shape(self) -> dict[str, Any]:
        """What `of_shape` makes a model of this shape from, as JSON values."""
        return {
            "text_width": self.text_width,
            "types": self.types,
            "settings": asdict(self.settings),
            "folded": self.folded,
        }

    @classmethod
    def of_shape(cls, shape: Mapping[str, Any]) -> Self:
        """Return a model of a shape, whose weights are to be loaded.

        Bundles of earlier versions have no folded ones, and an activation after the last layer.
        """
        settings = HGNNSettings(**{"last_activation": True, **shape["settings"]})
        return undrawn(
            lambda: cls(
                shape["text_width"], shape["types"], settings, folded=shape.get("folded", False)
            )
        )

    def features(self, text: Tensor, structure: Tensor | None = None) -> Tensor:
        """Return the input f32[n, text_width + structure] from unit text and structure vectors."""
        if structure is None:
            structure = text.new_zeros(len(text), self.settings.structure)
        gains = (self.settings.text_gain, self.settings.structure_gain)
        return torch.cat([text * gains[0], structure * gains[1]], dim=1)

    def forward(self, features: Tensor, blocks: Sequence[Block]) -> Tensor:
        """Return the unit vectors f32[t, output] of the last block's targets.

        features: those of the first block's sources; blocks: one for each layer.
        """
        h = features
        for layer, block in zip(self.layers, blocks, strict=True):
            h = layer(h, block)
        return functional.normalize(h, dim=1)

    def cold(self, text: Tensor) -> Tensor:
        """Return the unit vectors f32[n, output] of items without edges, from text f32[n, t]."""
        blocks = [edgeless(len(text), text.device)] * len(self.layers)
        return self.forward(self.features(text), blocks)
