"""Finds languages that a text model does not read.

A model splits words that it knows little of into short pieces, and its vectors of such texts are
close to random. Measured with the packaged English model, in letters for each token: titles of
shops, films and songs 3.9, artists' names 3.8, French 3.4, German 2.9, Spanish 2.8, Polish 2.3,
Russian, Korean, Japanese and Chinese 1.0.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LETTERS = 3.5
"""A model that reads a language has more letters in a token than this."""
WIDE_LETTERS = 1.2
"""The same for Chinese, Japanese and Korean, whose words have few letters."""
_WIDE_FROM = 0x2E80
_SAMPLE = 2_000
_FEWEST = 10  # fewer texts of a language say nothing


@dataclass(frozen=True, kw_only=True)
class Misread:
    """Languages that a model does not read.

    letters: letters for each token, by language; the empty name is texts without a language.
    share:   share of the catalogue's texts that they have.
    """

    letters: dict[str, float]
    share: float

    def __str__(self) -> str:
        """One line that says what to do."""
        named = ", ".join(f"{name or 'all'} {value:.1f}" for name, value in self.letters.items())
        return (
            f"the text model does not read {self.share:.0%} of the texts ({named} letters a token;"
            f" a language that it reads has more than {LETTERS}): items of like meaning will not be"
            " near each other. Set static.text.model to a model of these languages:"
            " docs/text-models.md"
        )


def misread(
    tokenizer: "Tokenizer", texts: Sequence[str], languages: Sequence[str | None]
) -> Misread | None:
    """Return the languages that a model with this tokenizer does not read; None if there are none.

    languages: of each text, None where unknown. At most 2,000 texts are looked at, in even steps.
    """
    step = -(-len(texts) // _SAMPLE) or 1
    # By language and width: letters, tokens.
    counts: dict[tuple[str, bool], list[int]] = defaultdict(lambda: [0, 0])
    sizes: dict[str, int] = defaultdict(int)
    sampled = range(0, len(texts), step)
    for row in sampled:
        text, language = texts[row], languages[row] or ""
        sizes[language] += 1
        for start, end in tokenizer.encode(text, add_special_tokens=False).offsets:
            word = [sign for sign in text[start:end] if sign.isalpha()]
            if word:
                count = counts[language, ord(word[0]) >= _WIDE_FROM]
                count[0] += len(word)
                count[1] += 1
    found: dict[str, float] = {}
    for language, size in sorted(sizes.items(), key=lambda pair: -pair[1]):
        narrow, wide = counts[language, False], counts[language, True]
        letters, tokens = wide if wide[1] > narrow[1] else narrow
        least = WIDE_LETTERS if wide[1] > narrow[1] else LETTERS
        if size >= _FEWEST and tokens and letters / tokens < least:
            found[language] = letters / tokens
    if not found:
        return None
    share = float(np.sum([sizes[name] for name in found])) / len(sampled)
    return Misread(letters=found, share=share)
