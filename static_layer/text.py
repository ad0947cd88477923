"""Text vectors: one sentence-transformers model, all item types in one space, cached."""

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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

    def __init__(
        self,
        settings: TextSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Resolve the model (raises TextModelError) and open the cache; loads no weights.

        clock: seconds, for the throughput that progress shows.
        """
        self._clock = clock
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

    def encode(
        self, texts: Sequence[str], progress: Progress = silent, *, mapped: bool = False
    ) -> NDArray[np.floating]:
        """Return the unit vectors [n, dimension] of the texts, in their order.

        f32 in memory or, `mapped`, f16 in a nameless file that ends with the array; then at
        most a chunk of vectors is in memory. Equal texts are encoded once. An empty text is a
        text like any other. What progress shows: texts done, and texts encoded a second.
        """
        rows: dict[bytes, list[int]] = {}
        for row, text in enumerate(texts):
            rows.setdefault(self.key(text), []).append(row)
        done = 0
        result: NDArray[np.floating] | None = None

        def put(vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
            nonlocal done, result
            for key, vector in vectors.items():
                if result is None:
                    result = self.room((len(texts), len(vector)), mapped=mapped)
                # What the cache stores is rounded: round all, so that a warm cache changes nothing.
                rounded = vector.astype(np.float16).astype(np.float32)
                result[rows[key]] = rounded / max(float(np.linalg.norm(rounded)), 1e-12)
                done += len(rows[key])

        unknown = sorted(rows)
        if self._cache is not None:
            unknown = []
            # The cache is ordered by key: asked in that order, it reads each of its pages once.
            for asked in _chunks(sorted(rows)):
                found = self._cache.find(asked)
                put(found)
                unknown.extend(key for key in asked if key not in found)
        progress("text", done, len(texts))
        # Texts of like length meet in a batch, so that little is padded.
        unknown.sort(key=lambda key: len(texts[rows[key][0]]))
        started, encoded = self._clock(), 0
        for chunk in _chunks(unknown):
            fresh = self._encode_now([texts[rows[key][0]] for key in chunk])
            vectors = dict(zip(chunk, fresh, strict=True))
            if self._cache is not None:
                self._cache.add(vectors)
            put(vectors)
            encoded += len(chunk)
            speed = encoded / max(self._clock() - started, 1e-9)
            progress("text", done, len(texts), {"texts/s": speed})
        if result is None:
            return np.zeros((0, self.dimension), dtype=np.float32)
        self._dimension = result.shape[1]
        return result

    def close(self) -> None:
        """Close the cache."""
        if self._cache is not None:
            self._cache.close()

    def room(self, shape: tuple[int, int], *, mapped: bool) -> NDArray[np.floating]:
        """Return room for vectors: in memory, or in a file without a name beside the cache."""
        if not mapped:
            return np.empty(shape, dtype=np.float32)
        folder = Path(self.settings.cache).parent if self.settings.cache else None
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def key(self, text: str) -> bytes:
        """Return the 16 bytes by which the cache knows a text's vector."""
        return hashlib.blake2b(f"{self.fingerprint}\0{text}".encode(), digest_size=16).digest()

    def loaded(self) -> "SentenceTransformer":
        """Return the model, loaded; it is shared, and not to be changed."""
        with self._lock:
            return self._loaded()

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


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _device(settings: TextSettings) -> str:
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return settings.device
