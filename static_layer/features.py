"""The model's input: put together for the rows that a batch asks for, never for all items."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from static_layer.hgnn import HGNN
from static_layer.tuned_text import FreshText

_CHUNK = 16_384  # rows put together at once: what lies between text and input stays small


class NodeFeatures:
    """Text and structure of every item, f32[dt + ds] in the form that `HGNN.features` gives.

    On the CPU the parts stay where they are: text may be float16 in a memory-mapped file, of
    which only the rows asked for are read. An accelerator holds both parts.
    """

    def __init__(
        self,
        model: HGNN,
        text: NDArray[np.floating],
        structure: NDArray[np.float32],
        device: torch.device | str = "cpu",
    ) -> None:
        """text: f16 or f32[n, dt], unit vectors; structure: f32[n, ds], both by graph row."""
        self._model = model
        self._text = torch.from_numpy(text).to(device)
        self._structure = torch.from_numpy(structure).to(device)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._text)

    def renew(self, text: NDArray[np.floating]) -> None:
        """Take other text vectors of all items, f16 or f32[n, dt]."""
        self._text = torch.from_numpy(text).to(self._structure.device)

    def rows(self, rows: Tensor, fresh: FreshText | None = None) -> Tensor:
        """Return the input f32[m, dt + ds] of rows i64[m], with fresh text where there is any."""
        width = self._text.shape[1] + self._structure.shape[1]
        result = torch.empty(len(rows), width, device=self._text.device)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            result[start : start + _CHUNK] = self._model.features(
                self.text(part, fresh), self._structure[part]
            )
        return result

    def text(self, rows: Tensor, fresh: FreshText | None = None) -> Tensor:
        """Return the text vectors f32[m, dt] of rows i64[m], fresh ones where there are any."""
        text = self._text[rows].float()
        return text if fresh is None else fresh.over(text, rows)
