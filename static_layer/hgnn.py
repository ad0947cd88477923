"""HGNN: one vector space for items of every type (paper B, section on the HGNN)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from static_layer.blocks import Block, edgeless
from static_layer.gather_max import gather_max

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True, kw_only=True)
class HGNNSettings:
    """Shape of the model. The papers state two layers and text features; the rest is ours.

    layers:         rounds of message passing.
    hidden:         width of the inner layers.
    output:         width of the item vectors.
    activation:     sigma, of messages and updates.
    structure:      width of the structural node features (see static_layer.structure); 0 for
                    the papers' form, text alone.
    text_gain:      factor on the unit text vectors, and
    structure_gain: on the unit structural features, so that neither drowns in the biases.
    """

    layers: int = 2
    hidden: int = 128
    output: int = 128
    activation: Literal["relu", "leaky_relu", "tanh"] = "leaky_relu"
    structure: int = 64
    text_gain: float = 8.0
    structure_gain: float = 32.0


class RelationMax(nn.Module):
    """One round: sigma(W_c h_c + sum over relations r of max over neighbours of sigma(W_r h + b)).

    W_c is shared by all item types, so that items of a type that was never seen have a vector
    too. A relation has one W_r for each direction.
    """

    def __init__(self, width: int, output: int, types: int, activation: str) -> None:
        """Draw the weights from torch's generator."""
        super().__init__()
        self.types, self.sigma = types, ACTIVATIONS[activation]
        self.own = nn.Linear(width, output)
        self.relations = nn.ModuleList(nn.Linear(width, output) for _ in range(types * types))

    def forward(self, h: Tensor, block: Block) -> Tensor:
        """Return f32[n_targets, output] from the sources' f32[n, width]."""
        total: Tensor = self.own(h[: block.n_targets])
        for relation in block.relations:
            messages = self.relation(relation.target_type, relation.source_type)(
                h[relation.sources]
            )
            heard = self.heard(messages, relation.indptr, relation.indices)
            total = total.index_add(0, relation.targets, heard)
        return self.sigma(total)

    def relation(self, target_type: int, source_type: int) -> nn.Module:
        """Return W_r of the messages from one type to another."""
        return self.relations[target_type * self.types + source_type]

    def heard(self, messages: Tensor, indptr: Tensor, indices: Tensor) -> Tensor:
        """Return max over neighbours of sigma(message), see gather_max."""
        # sigma is monotone, so it may follow the maximum: fewer values to compute.
        return self.sigma(gather_max(messages, indptr, indices))


class HGNN(nn.Module):
    """Rounds of RelationMax on the items' features; unit vectors out, so dot = cosine."""

    def __init__(self, text_width: int, types: int, settings: HGNNSettings) -> None:
        """Draw the weights from torch's generator."""
        super().__init__()
        self.text_width, self.types, self.settings = text_width, types, settings
        inner = [settings.hidden] * (settings.layers - 1)
        widths = [text_width + settings.structure, *inner, settings.output]
        self.layers = nn.ModuleList(
            RelationMax(width, output, types, settings.activation)
            for width, output in pairwise(widths)
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
