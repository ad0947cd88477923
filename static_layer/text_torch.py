"""The text model as sentence-transformers runs it: every model, every device."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from static_layer.text_model import ModelSource, TextModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_model(
    source: ModelSource, *, revision: str, max_tokens: int, device: str
) -> "SentenceTransformer":
    """Load a model; longer texts are cut to max_tokens. Raises TextModelError."""
    # Imported here: it takes seconds, and a process with a warm cache never needs it.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            source.location,
            device=device,
            revision=revision or None,
            local_files_only=not source.on_hub,
        )
    except OSError as error:
        raise TextModelError(
            f"text model {source.location} could not be loaded: {error}"
        ) from error
    model.max_seq_length = max_tokens
    return model


def device_of(device: str) -> str:
    """Return the device that `auto` stands for."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


class TorchTexts:
    """Encodes texts with PyTorch."""

    def __init__(self, model: "SentenceTransformer", *, batch_size: int) -> None:
        """batch_size: texts encoded at once."""
        self._model, self._batch_size = model, batch_size
        self.dimension = int(model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension]."""
        vectors = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)
