"""Text vectors: one text model, all item types in one space, cached."""

import contextlib
import hashlib
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from static_layer.progress import Progress, silent
from static_layer.settings import TextSettings
from static_layer.text_cache import VectorCache
from static_layer.text_languages import LETTERS, SHARED_LETTERS, Pieces
from static_layer.text_model import ModelSource, TextModelError, resolve_model
from static_layer.text_multilingual import MultilingualPieces, MultilingualTexts
from static_layer.text_onnx import Exportable, OnnxTexts, exportable, exported, packaged
from static_layer.text_static import StaticTexts, distilled
from static_layer.text_torch import TorchTexts, device_of, load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

_CHUNK = 1024  # texts between two reports and two writes to the cache

# Added to the fingerprint. ONNX Runtime and PyTorch give the same vectors up to rounding: both
# have the fingerprint of the model alone. A number changes when the method does.
_RECIPES = {"auto": "", "torch": "", "onnx": "", "int8": "|int8/1", "static": "|static/1"}


class _Texts(Protocol):
    """What computes vectors; used by one thread at a time."""

    dimension: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension]."""


class TextEncoder:
    """Turns texts into unit vectors; one encoder may serve several threads.

    The model is loaded when the first text comes that the cache does not know, so that a
    process whose texts are all known never pays for it. The same text, model and settings
    give the same vector, whichever texts stand beside it, up to rounding (`int8`: up to a cosine
    of about .99).
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
        if self._source.multilingual and self.settings.backend in ("int8", "static"):
            raise TextModelError(
                f"static.text.backend = {self.settings.backend!r} does not apply to the model"
                " `multilingual`: set it to 'auto'"
            )
        # A cache lookup takes as long as computing a static vector.
        cached = self.settings.cache and self.settings.backend != "static"
        self._cache = VectorCache(Path(self.settings.cache)) if cached else None
        self._model: SentenceTransformer | None = None
        self._backend: _Texts | None = None
        self._dimension: int | None = None
        self._lock = threading.Lock()
        recipe = f"{self._source.fingerprint}|{self.settings.max_tokens}"
        recipe += _RECIPES[self.settings.backend]
        self.fingerprint = hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()

    @property
    def recipe(self) -> dict[str, Any]:
        """What a bundle records of its text vectors, as JSON values: see `matching`."""
        names = ("model", "revision", "backend", "max_tokens")
        values = asdict(self.settings)
        return {name: values[name] for name in names} | {"fingerprint": self.fingerprint}

    def matching(self, recipe: Mapping[str, Any]) -> "TextEncoder":
        """Return an encoder whose vectors are comparable with those of a bundle with this recipe.

        It is this one, or one of another model or backend, as the bundle was made with; the
        caller closes that one. Raises TextModelError if there is none: the model is not here, or
        its weights differ.
        """
        wanted = recipe["fingerprint"]
        if wanted == self.fingerprint:
            return self
        backend = recipe["backend"]
        if _RECIPES.get(backend) == _RECIPES[self.settings.backend]:
            backend = self.settings.backend
        own = replace(self.settings, backend=backend, max_tokens=recipe["max_tokens"])
        theirs = replace(own, model=recipe["model"], revision=recipe["revision"])
        for settings in (own, theirs):
            with contextlib.suppress(TextModelError, KeyError):
                other = TextEncoder(settings, clock=self._clock)
                if other.fingerprint == wanted:
                    return other
                other.close()
        raise TextModelError(
            f"the bundle's text vectors are of model {recipe['model']} (backend"
            f" {recipe['backend']}, {wanted[:8]}), which is not here: set static.text.model to the"
            f" same model as in the static job, or build a bundle with {self.settings.model}"
        )

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        if self._dimension is None:
            with self._lock:
                self._dimension = self._computing().dimension
        return self._dimension

    def encode(
        self, texts: Sequence[str], progress: Progress = silent, *, mapped: bool = False
    ) -> NDArray[np.floating]:
        """Return the unit vectors [n, dimension] of the texts, in their order.

        f32 in memory or, `mapped`, f16 in a nameless file that ends with the array; then at
        most a chunk of vectors is in memory. Equal texts are encoded once. An empty text is a
        text like any other. What progress shows: texts done, and texts encoded a second.
        """
        distinct = _Distinct(texts)
        result: NDArray[np.floating] | None = None
        done = 0

        def put(numbers: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
            nonlocal done, result
            if result is None:
                result = self.room((len(texts), vectors.shape[1]), mapped=mapped)
            # What the cache stores is rounded: round all, so that a warm cache changes nothing.
            rounded = vectors.astype(np.float16).astype(np.float32)
            rounded /= np.maximum(np.linalg.norm(rounded, axis=1, keepdims=True), 1e-12)
            rows, copies = distinct.rows(numbers)
            result[rows] = np.repeat(rounded, copies, axis=0)
            done += len(rows)

        unknown = np.arange(len(distinct.texts))
        keys: list[bytes] = []
        if self._cache is not None:
            keys = [self.key(text) for text in distinct.texts]
            known: list[int] = []
            # The cache is ordered by key: asked in that order, it reads each of its pages once.
            for asked in _chunks(np.array(sorted(unknown, key=keys.__getitem__), np.int64)):
                found = self._cache.find([keys[number] for number in asked])
                here = [number for number in asked if keys[number] in found]
                if here:
                    put(np.array(here), np.stack([found[keys[number]] for number in here]))
                known.extend(here)
            unknown = np.setdiff1d(unknown, known)
        progress("text", done, len(texts))
        # Texts of like length meet in a batch, so that little is padded.
        lengths = np.array([len(distinct.texts[number]) for number in unknown], np.int64)
        unknown = unknown[np.argsort(lengths, kind="stable")]
        started, encoded = self._clock(), 0
        for chunk in _chunks(unknown):
            fresh = self._encode_now([distinct.texts[number] for number in chunk], progress)
            if self._cache is not None:
                self._cache.add({keys[n]: row for n, row in zip(chunk, fresh, strict=True)})
            put(chunk, fresh)
            encoded += len(chunk)
            speed = encoded / max(self._clock() - started, 1e-9)
            progress("text", done, len(texts), {"texts/s": speed})
        if result is None:
            return np.zeros((0, self.dimension), dtype=np.float32)
        self._dimension = result.shape[1]
        return result

    def pieces(self) -> Pieces | None:
        """Return what splits a text into the pieces of its tokens; None if there is no tokenizer.

        Of a model in a folder it is read alone. Of a model on the hub it is there once texts were
        encoded, and of one with a tokenizer in Python never.
        """
        if self._source.multilingual:
            split = MultilingualPieces(Path(self._source.location))
            return Pieces(split=split, letters=SHARED_LETTERS, wide=0.0)
        from tokenizers import Tokenizer  # noqa: PLC0415

        file = Path(self._source.location) / "tokenizer.json"
        with self._lock:
            if file.is_file():
                found = Tokenizer.from_file(str(file))
            elif isinstance(self._backend, OnnxTexts):
                found = Tokenizer.from_str(self._backend.tokenizer.to_str())
            elif fast := getattr(self._model and self._model.tokenizer, "backend_tokenizer", None):
                found = Tokenizer.from_str(fast.to_str())
            else:
                return None
        found.no_padding()
        found.no_truncation()

        def pieces_of(text: str) -> list[str]:
            encoded = found.encode(text, add_special_tokens=False)
            return [text[start:end] for start, end in encoded.offsets]

        shared = _many_languages(found.get_vocab())
        return Pieces(split=pieces_of, letters=SHARED_LETTERS if shared else LETTERS)

    def close(self) -> None:
        """Close the cache."""
        if self._cache is not None:
            self._cache.close()

    def room(self, shape: tuple[int, int], *, mapped: bool) -> NDArray[np.floating]:
        """Return an empty array: in memory, or in a file without a name beside the cache."""
        if not mapped:
            return np.empty(shape, dtype=np.float32)
        folder = Path(self.settings.cache).parent if self.settings.cache else None
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def key(self, text: str) -> bytes:
        """Return the 16 bytes by which the cache knows a text's vector."""
        return hashlib.blake2b(f"{self.fingerprint}\0{text}".encode(), digest_size=16).digest()

    def loaded(self) -> "SentenceTransformer":
        """Return PyTorch's model, loaded; it is shared, and not to be changed.

        Raises TextModelError for a model that PyTorch does not run.
        """
        if self._source.multilingual:
            raise TextModelError("expected a text model of PyTorch; `multilingual` is none")
        with self._lock:
            return self._loaded()

    def _encode_now(self, texts: list[str], progress: Progress = silent) -> NDArray[np.float32]:
        with self._lock:
            return self._computing(progress).encode(texts)

    def _computing(self, progress: Progress = silent) -> _Texts:
        """Return what computes vectors, making it at the first call; the caller holds the lock."""
        if self._backend is None:
            self._backend = self._made(progress)
        return self._backend

    def _made(self, progress: Progress) -> _Texts:
        own = self.settings
        if self._source.multilingual:
            return MultilingualTexts(Path(self._source.location), max_tokens=own.max_tokens)
        on_cpu = device_of(own.device) == "cpu"
        if own.backend not in ("auto", "torch"):
            return self._compiled(progress)
        if own.backend == "auto" and on_cpu and own.compiled:
            try:
                return self._compiled(progress)
            except (TextModelError, ImportError) as error:
                logger.warning("PyTorch encodes texts, at half the speed: %s", error)
        return TorchTexts(self._loaded(), batch_size=own.batch_size)

    def _compiled(self, progress: Progress) -> _Texts:
        """Return a backend that works from files made of the model, which are made if missing."""
        own = self.settings
        with contextlib.ExitStack() as stack:
            # Without a folder of its own, all is read into memory before the files go.
            name = own.compiled or stack.enter_context(tempfile.TemporaryDirectory())
            folder = Path(name).expanduser()
            if own.backend == "static":
                made = folder / f"{self.fingerprint}-static"
                if not made.is_dir():
                    distilled(made, self._graph(folder, int8=False), progress)
                return StaticTexts(made, max_tokens=own.max_tokens)
            return self._graph(folder, int8=own.backend == "int8")

    def _graph(self, folder: Path, *, int8: bool) -> OnnxTexts:
        own = self.settings
        model = hashlib.blake2b(self._source.fingerprint.encode(), digest_size=16).hexdigest()
        made = exported(
            folder / f"{model}-{'int8' if int8 else 'f32'}",
            self._exportable, max_tokens=own.max_tokens, int8=int8,
        )  # fmt: skip
        self._model = None  # PyTorch's copy is no longer needed
        return OnnxTexts(
            made, batch_size=own.batch_size, max_tokens=own.max_tokens,
            threads=torch.get_num_threads(),
        )  # fmt: skip

    def _exportable(self) -> Exportable:
        if self._source.packaged:
            return packaged(Path(self._source.location))
        return exportable(self._loaded())

    def _loaded(self) -> "SentenceTransformer":
        """Return the model, loading it at the first call; the caller holds the lock."""
        if self._model is None:
            self._model = load_model(
                self._source,
                revision=self.settings.revision,
                max_tokens=self.settings.max_tokens,
                device=device_of(self.settings.device),
            )
        return self._model


def _many_languages(vocabulary: Iterable[str]) -> bool:
    """Whether more than a third of a vocabulary has letters that English does not have.

    Measured: 5 % of the packaged model's, 45 % of that of `multilingual`.
    """
    tokens = [token for token in vocabulary if any(map(str.isalpha, token))]
    foreign = sum(any(sign.isalpha() and not sign.isascii() for sign in token) for token in tokens)
    return 3 * foreign > len(tokens)


class _Distinct:
    """The distinct ones among texts, by number, and the rows in which each stands."""

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        number = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
        self.texts = list(numbers)
        self._rows = np.argsort(number, kind="stable")
        self._copies = np.bincount(number, minlength=len(numbers))
        self._starts = np.cumsum(self._copies) - self._copies

    def rows(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of distinct texts, one after the other, and how many each has."""
        copies = self._copies[numbers]
        within = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
        return self._rows[np.repeat(self._starts[numbers], copies) + within], copies


def _chunks(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK))
