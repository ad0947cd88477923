"""Text vectors: one sentence-transformers model, all item types in one space, cached."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from static_layer.progress import Progress, silent
from static_layer.text_cache import VectorCache
from static_layer.text_model import ModelSource, TextModelError, resolve_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_CHUNK = 1024  # texts between two reports and two writes to the cache


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How texts become vectors.

    model:      `auto` (the packaged all-MiniLM-L6-v2, else the hub's), a folder, or a hub name
                (for example a multilingual model).
    revision:   commit of a model on the hub; empty takes its main branch.
    batch_size: texts encoded at once.
    max_tokens: longer texts are cut; the cost of a text grows with its tokens.
    device:     `auto` (an accelerator where there is one), `cpu`, `cuda`, ...
    cache:      file of known vectors; empty keeps none.
    """

    model: str = "auto"
    revision: str = ""
    batch_size: int = 64
    max_tokens: int = 128
    device: str = "auto"
    cache: str = ""


class TextEncoder:
    """Turns texts into unit vectors; one encoder may serve several threads.

    The model is loaded when the first text comes that the cache does not know, so that a
    process whose texts are all known never pays for it. The same text, model and settings
    give the same vector, whichever texts stand beside it, up to rounding.
    """

    def __init__(self, settings: TextSettings | None = None) -> None:
        """Resolve the model (raises TextModelError) and open the cache; loads no weights."""
        self.settings = settings or TextSettings()
        self._source: ModelSource = resolve_model(
            self.settings.model, self.settings.revision or None
        )
        self._cache = VectorCache(Path(self.settings.cache)) if self.settings.cache else None
        self._model: SentenceTransformer | None = None
        self._dimension: int | None = None
        self._lock = threading.Lock()
        recipe = f"{self._source.fingerprint}|{self.settings.max_tokens}"
        self.fingerprint = hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._dimension is None:
            with self._lock:
                self._dimension = int(self._loaded().get_embedding_dimension() or 0)
        return self._dimension

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> NDArray[np.float32]:
        """Return the unit vectors f32[n, dimension] of the texts, in their order.

        Equal texts are encoded once. An empty text is a text like any other.
        """
        keys = [self._key(text) for text in texts]
        known: dict[bytes, NDArray[np.float32]] = {}
        unknown = dict(zip(keys, texts, strict=True))
        if self._cache is not None:
            known = self._cache.find(list(unknown))
            for key in known:
                del unknown[key]
        # Texts of like length meet in a batch, so that little is padded.
        todo = sorted(unknown.items(), key=lambda pair: len(pair[1]))
        progress("text", len(texts) - len(todo), len(texts))
        for start in range(0, len(todo), _CHUNK):
            chunk = todo[start : start + _CHUNK]
            fresh = self._encode_now([text for _, text in chunk])
            vectors = {key: fresh[row] for row, (key, _) in enumerate(chunk)}
            if self._cache is not None:
                self._cache.add(vectors)
            known.update(vectors)
            progress("text", len(texts) - len(todo) + start + len(chunk), len(texts))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        result = np.stack([known[key] for key in keys])
        # What the cache stores is rounded: round all, so that a warm cache changes nothing.
        result = result.astype(np.float16).astype(np.float32)
        result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
        self._dimension = result.shape[1]
        return result

    def close(self) -> None:
        """Close the cache."""
        if self._cache is not None:
            self._cache.close()

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self.fingerprint}\0{text}".encode(), digest_size=16).digest()

    def _encode_now(self, texts: list[str]) -> NDArray[np.float32]:
        with self._lock:
            vectors = self._loaded().encode(
                texts,
                batch_size=self.settings.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return np.asarray(vectors, dtype=np.float32)

    def _loaded(self) -> "SentenceTransformer":
        """Return the model, loading it at the first call; the caller holds the lock."""
        if self._model is None:
            # Imported here: it costs seconds, and a process with a warm cache never needs it.
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415
            from transformers.utils import logging  # noqa: PLC0415

            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            device = _device(self.settings)
            try:
                model = SentenceTransformer(
                    self._source.location,
                    device=device,
                    revision=self.settings.revision or None,
                    local_files_only=not self._source.on_hub,
                )
            except OSError as error:
                raise TextModelError(
                    f"text model {self._source.location} could not be loaded: {error}"
                ) from error
            model.max_seq_length = self.settings.max_tokens
            self._model = model
        return self._model


def _device(settings: TextSettings) -> str:
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device
