"""The text encoder's last layers, trained with the HGNN's loss (the papers' next step)."""

import copy
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from static_layer.progress import Progress, silent
from static_layer.text import TextEncoder
from static_layer.text_model import TextModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CHUNK = 128  # texts whose hidden states are computed at once
_CHECKED = 16  # texts whose vectors are compared with the encoder's own


@dataclass(frozen=True)
class FreshText:
    """Text vectors with gradient, f32[m, dt], of the items in rows i64[m], ascending."""

    rows: Tensor
    vectors: Tensor

    def over(self, text: Tensor, rows: Tensor) -> Tensor:
        """Return text f32[k, dt] of rows i64[k], with these vectors where there are any."""
        place = torch.searchsorted(self.rows, rows).clamp(max=len(self.rows) - 1)
        mine = (self.rows[place] == rows)[:, None]
        return torch.where(mine, self.vectors[place], text)


class TunedText(nn.Module):
    """Text vectors of a fixed list of texts, by an encoder whose last layers can learn.

    The transformer is cut below its last `layers` layers. What is below never changes: its hidden
    states are computed once a distinct text and lie, f16, in a file without a name (tokens x width
    x 2 bytes), of which a step reads the texts it asks for. Above the cut are copies: the encoder
    itself stays as it is. There is no dropout, so that a vector depends on text and weights alone.
    """

    def __init__(
        self, encoder: TextEncoder, texts: Sequence[str], layers: int, progress: Progress = silent
    ) -> None:
        """Cut the encoder's model, and run the texts through what is below the cut.

        Raises TextModelError for a model of another form than BERT's, and for one with fewer
        layers; ValueError without a text.
        """
        super().__init__()
        if not texts:
            raise ValueError("tuning the text encoder needs at least one text")
        model = copy.deepcopy(encoder.loaded()).eval()
        transformer = model[0].auto_model
        stack = getattr(getattr(transformer, "encoder", None), "layer", None)
        if not isinstance(stack, nn.ModuleList):
            raise TextModelError(
                f"tune_text needs a text model with encoder.layer, as BERT has;"
                f" {type(transformer).__name__} has none"
            )
        if not 0 < layers <= len(stack):
            raise TextModelError(f"tune_text is 1 to {len(stack)} with this model, not {layers}")
        self.layers = stack[-layers:]
        self.pooling = nn.ModuleList(list(model)[1:]).requires_grad_(requires_grad=False)
        transformer.encoder.layer = stack[:-layers]
        # Texts of like length meet in a batch, so that little is padded.
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        numbers = {text: number for number, text in enumerate(distinct)}
        self._text_of = torch.tensor([numbers[text] for text in texts])
        folder = Path(encoder.settings.cache).parent if encoder.settings.cache else None
        self._hidden, self._starts = _below(model, distinct, folder, progress)
        self._require_equal(encoder, distinct)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the unit vectors f32[m, dt] of the texts in rows i64[m], with gradient."""
        distinct, place = torch.unique(self._text_of[rows.cpu()], return_inverse=True)
        return self._above(distinct)[place.to(rows.device)]

    @torch.no_grad()
    def vectors(self) -> NDArray[np.float32]:
        """Return the unit vectors of all texts, f32[n, dt], in their order."""
        parts = torch.split(torch.arange(len(self._starts) - 1), _CHUNK)
        found = torch.cat([self._above(part).cpu() for part in parts])
        return np.asarray(found[self._text_of].numpy())

    def fingerprint(self, encoder: str) -> str:
        """Return 32 hexadecimal digits of the encoder's own fingerprint and the trained weights."""
        digest = hashlib.blake2b(encoder.encode(), digest_size=16)
        for name, value in sorted(self.layers.state_dict().items()):
            digest.update(name.encode() + value.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _above(self, texts: Tensor) -> Tensor:
        """Return the unit vectors of texts by their number, i64[k]."""
        device = next(self.layers.parameters()).device
        numbers = texts.numpy()
        starts, ends = self._starts[numbers], self._starts[numbers + 1]
        places = starts[:, None] + np.arange((ends - starts).max())
        real = places < ends[:, None]
        hidden = torch.from_numpy(self._hidden[np.where(real, places, 0)]).to(device).float()
        mask = torch.from_numpy(real).to(device)
        unseen = torch.zeros(mask.shape, device=device).masked_fill(~mask, -1e9)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, unseen)
        found = {"token_embeddings": hidden, "attention_mask": mask.long()}
        for module in self.pooling:
            found = module(found)
        return functional.normalize(found["sentence_embedding"], dim=1)

    def _require_equal(self, encoder: TextEncoder, texts: list[str]) -> None:
        """Compare with the encoder: another form of pooling or attention would go unnoticed."""
        some = range(0, len(texts), -(-len(texts) // _CHECKED))
        with torch.no_grad():
            mine = self._above(torch.tensor(some)).cpu().numpy()
        far = float(np.abs(mine - encoder.encode([texts[number] for number in some])).max())
        if far > 5e-3:  # rounding of f16 hidden states and the cache
            raise TextModelError(
                f"cut in two, the text model gives other vectors (by {far:.3f}): tune_text does"
                " not fit its form"
            )


@torch.no_grad()
def _below(
    model: "SentenceTransformer", texts: list[str], folder: Path | None, progress: Progress
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Return the hidden states below the cut, f16[tokens, width], and where each text starts."""
    lengths: list[int] = []
    width = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, len(texts), _CHUNK):
            features = model.preprocess(texts[start : start + _CHUNK])
            for name, value in features.items():
                if isinstance(value, Tensor):
                    features[name] = value.to(model.device)
            mask = features["attention_mask"].bool()
            hidden = model[0](features)["token_embeddings"]
            width = hidden.shape[2]
            lengths += mask.sum(dim=1).tolist()
            file.write(hidden[mask].half().cpu().numpy().tobytes())
            progress("text below the cut", len(lengths), len(texts))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        file.flush()
        # The file has no name: it ends with the array.
        return np.memmap(file, np.float16, mode="r", shape=(int(starts[-1]), width)), starts
