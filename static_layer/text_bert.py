"""The packaged text model in plain PyTorch, which loads without sentence-transformers.

BERT's encoder (Devlin et al. 2018) with mean pooling, as all-MiniLM-L6-v2 has it. Importing
sentence-transformers takes seven seconds of a core, this module nothing beside torch. A test
compares its vectors with those of sentence-transformers.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional


class _Layer(nn.Module):
    """Attention and feed-forward layer, each with a residual and a norm after it."""

    def __init__(self, weights: dict[str, Tensor], prefix: str, heads: int, epsilon: float) -> None:
        super().__init__()
        own = "attention.self"
        three = [f"{prefix}{own}.{name}" for name in ("query", "key", "value")]
        # One product in the place of three.
        self.inputs = _linear(*(
            torch.cat([weights[f"{name}.{kind}"] for name in three]) for kind in ("weight", "bias")
        ))  # fmt: skip
        self.attended = _dense(weights, f"{prefix}attention.output.dense")
        self.after = _norm(weights, f"{prefix}attention.output.LayerNorm", epsilon)
        self.wide = _dense(weights, f"{prefix}intermediate.dense")
        self.narrow = _dense(weights, f"{prefix}output.dense")
        self.last = _norm(weights, f"{prefix}output.LayerNorm", epsilon)
        self.heads = heads

    def forward(self, h: Tensor, bias: Tensor) -> Tensor:
        """h: f32 [n, l, d]; bias: f32 [n, 1, 1, l], 0 or the least number where nothing is."""
        n, length, width = h.shape
        parts = self.inputs(h).view(n, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(2, 3) / (width // self.heads) ** 0.5 + bias
        mixed = (scores.softmax(dim=3) @ value).transpose(1, 2).reshape(n, length, width)
        h = self.after(h + self.attended(mixed))
        found: Tensor = self.last(h + self.narrow(functional.gelu(self.wide(h))))
        return found


class BertSentences(nn.Module):
    """Token ids i64 [n, l] and mask i64 [n, l] to unit vectors f32 [n, d]: the mean of tokens."""

    def __init__(self, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
        """weights: by the names of the published file; config: of the published file."""
        super().__init__()
        epsilon = float(config["layer_norm_eps"])
        words = weights["embeddings.word_embeddings.weight"]
        self.words = nn.Embedding.from_pretrained(words)  # type: ignore[no-untyped-call]
        # A text is one segment: the vector of the first is in every position's.
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        places = weights["embeddings.position_embeddings.weight"] + segment
        self.places = nn.Embedding.from_pretrained(places)  # type: ignore[no-untyped-call]
        self.norm = _norm(weights, "embeddings.LayerNorm", epsilon)
        self.layers = nn.ModuleList(
            _Layer(weights, f"encoder.layer.{number}.", config["num_attention_heads"], epsilon)
            for number in range(config["num_hidden_layers"])
        )

    @classmethod
    def load(cls, folder: Path) -> "BertSentences":
        """Read config.json and model.safetensors."""
        config = json.loads((folder / "config.json").read_text())
        return cls(load_file(folder / "model.safetensors"), config).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the unit vectors; every text needs a token."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        h = self.norm(self.words(input_ids) + self.places(places))
        here = attention_mask.to(h.dtype)
        bias = (1.0 - here[:, None, None, :]) * torch.finfo(h.dtype).min
        for layer in self.layers:
            h = layer(h, bias)
        total = (h * here[:, :, None]).sum(dim=1) / here.sum(dim=1, keepdim=True)
        return functional.normalize(total, dim=1)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return layer


def _dense(weights: dict[str, Tensor], name: str) -> nn.Linear:
    return _linear(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: dict[str, Tensor], name: str, epsilon: float) -> nn.LayerNorm:
    layer = nn.LayerNorm(len(weights[f"{name}.weight"]), eps=epsilon, device="meta")
    layer.load_state_dict(
        {kind: weights[f"{name}.{kind}"] for kind in ("weight", "bias")}, assign=True
    )
    return layer
