"""A static text model, distilled from the text model: a text is the mean of its tokens' vectors.

The method is model2vec's (Minish Lab, 2024): each token of the vocabulary goes through the model
once, alone; the vectors are reduced by PCA, and weighted by smooth inverse frequency (Arora et al.
2017) with Zipf's law in the place of counts. A text then costs its tokenisation.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from static_layer.progress import Progress, silent
from static_layer.text_onnx import TOKENIZER, OnnxTexts

TABLE = "tokens.safetensors"
DIMENSION = 256
_SMOOTHING = 1e-4  # model2vec's coefficient
_CHUNK = 2048  # tokens between two reports


class StaticTexts:
    """Encodes texts by adding up the vectors of their tokens."""

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        """folder: what `distilled` made."""
        from tokenizers import Tokenizer  # noqa: PLC0415

        self._table: NDArray[np.float32] = load_file(folder / TABLE)["tokens"]
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self.dimension = self._table.shape[1]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension]; zeros for a text without a known token."""
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        parts = [one.ids for one in found]
        lengths = np.array([len(ids) for ids in parts], dtype=np.int64)
        ids = np.fromiter(itertools.chain.from_iterable(parts), np.int64, count=lengths.sum())
        result = np.zeros((len(texts), self.dimension), dtype=np.float32)
        some = np.flatnonzero(lengths)
        if len(some):
            starts = (np.cumsum(lengths) - lengths)[some]
            result[some] = np.add.reduceat(self._table[ids], starts, axis=0)
        result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
        return result


def distilled(folder: Path, model: OnnxTexts, progress: Progress = silent) -> Path:
    """Return the folder with the static model of a model, making it if it is not there.

    Making it takes one forward pass of three tokens for each token of the vocabulary.
    """
    if (folder / TABLE).is_file():
        return folder
    tokenizer = model.tokenizer
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as name:
        made = Path(name) / folder.name
        made.mkdir()
        special = {number for number, added in tokenizer.get_added_tokens_decoder().items()
                   if added.special}  # fmt: skip
        names = tokenizer.get_vocab(with_added_tokens=True)
        words = sorted(
            number for token, number in names.items()
            if number not in special and not token.startswith("[unused")
        )  # fmt: skip
        before, after = _around(model)
        vectors = []
        for start in range(0, len(words), _CHUNK):
            part = words[start : start + _CHUNK]
            vectors.append(model.encode_tokens([[*before, word, *after] for word in part]))
            progress("text: static model", start + len(part), len(words))
        table = np.zeros((max(names.values()) + 1, min(DIMENSION, model.dimension)), np.float32)
        table[words] = token_vectors(np.concatenate(vectors), table.shape[1])
        save_file({"tokens": table}, made / TABLE)
        tokenizer.save(str(made / TOKENIZER))
        # Another process may have put its own there: then that one is used.
        with contextlib.suppress(OSError):
            made.rename(folder)
    return folder


def token_vectors(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return the weighted principal components f32[n, width] of tokens' vectors f32[n, d].

    The tokens are in the order of their frequency, as vocabularies are: the k-th has a probability
    proportional to 1 / (k + 1).
    """
    centred = vectors - vectors.mean(axis=0)
    _, turn = np.linalg.eigh(centred.T @ centred)
    inverse = 1 / np.arange(2, len(vectors) + 2)
    weight = _SMOOTHING / (_SMOOTHING + inverse / inverse.sum())
    reduced = centred @ turn[:, ::-1][:, :width] * weight[:, None]
    return np.asarray(reduced, np.float32)


def _around(model: OnnxTexts) -> tuple[list[int], list[int]]:
    """Return the special tokens before and after a text."""
    encoded = model.tokenizer.encode("a")
    own = [place for place, special in enumerate(encoded.special_tokens_mask) if not special]
    return encoded.ids[: own[0]], encoded.ids[own[-1] + 1 :]
