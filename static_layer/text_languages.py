"""Finds languages that a text model does not read.

A model splits words that it knows little of into short pieces, and its vectors of such texts are
close to random. Measured with the packaged English model, in letters for each token: titles of
shops, films and songs 3.9, artists' names 3.8, French 3.4, German 2.9, Spanish 2.8, Polish 2.3,
Russian, Korean, Japanese and Chinese 1.0. Texts below 3 letters a token: 6 % of a shop's titles,
12 % of films, 15 % of songs, 24 % of artists; 45 to 95 % of sentences in those languages.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from static_layer.text_guess import UNKNOWN, guessed_language

LETTERS = 3.5
"""An English model that reads a language has more letters in a token than this."""
SHARED_LETTERS = 2.6
"""A model of many languages, which share its vocabulary: of `multilingual`, English shop titles
have 3.4, German 4.4, Polish 3.1, Russian 2.8; Czech, which it does not read, 2.3, Greek 1.2."""
WIDE_LETTERS = 1.2
"""The same for Chinese, Japanese and Korean, whose words have few letters."""
FEWER = 0.5
"""A text with so much less than that may be of a language that the model does not read ..."""
FOREIGN_SHARE = 0.3
"""... and is, if more of the texts of unknown language are such than names and brands explain."""
GUESSED_SHARE = 0.05
"""A guessed language has at least this share of the texts: single titles can be foreign."""
_WIDE_FROM = 0x2E80
_SAMPLE = 2_000
_FEWEST = 10  # fewer texts of a language say nothing


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """How a model splits texts.

    split:   returns the pieces of a text that its tokens stand for.
    letters: a language with fewer letters in a token is not read.
    wide:    the same for Chinese, Japanese and Korean.
    """

    split: Callable[[str], Sequence[str]]
    letters: float = LETTERS
    wide: float = WIDE_LETTERS


@dataclass(frozen=True, kw_only=True)
class Misread:
    """Languages that a model does not read.

    letters: letters for each token, by language: a `language` field, or a guess.
    shares:  share of the catalogue's texts, by language.
    guessed: a part of them are guesses, which miss texts.
    many:    the model is one of many languages.
    """

    letters: dict[str, float]
    shares: dict[str, float]
    guessed: bool = False
    many: bool = False

    @property
    def share(self) -> float:
        """Share of the catalogue's texts in all these languages."""
        return sum(self.shares.values())

    @property
    def fault(self) -> str:
        """What is wrong, without the remedy."""
        named = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        least = "at least " if self.guessed and self.share < 1 else ""
        return f"the text model does not read {least}{self.share:.0%} of the texts ({named})"

    @property
    def fix(self) -> str:
        """What to do."""
        example = ", for example \"multilingual\" (pip install 'segue[multilingual]')"
        return (
            f"set static.text.model to a model of these languages{'' if self.many else example}:"
            " docs/text-models.md"
        )

    def __str__(self) -> str:
        """One line that says what to do."""
        return f"{self.fault}: items of like meaning will not be near each other; {self.fix}"


@dataclass(kw_only=True)
class _Group:
    """Texts of one language, as letters and tokens of each. Wide letters count by themselves."""

    narrow: list[tuple[int, int]] = field(default_factory=list)
    wide: list[tuple[int, int]] = field(default_factory=list)
    texts: int = 0

    def add(self, pieces: Sequence[str]) -> None:
        self.texts += 1
        for found, wide in ((self.narrow, False), (self.wide, True)):
            words = [
                letters for piece in pieces
                if (letters := [sign for sign in piece if sign.isalpha()])
                and (ord(letters[0]) >= _WIDE_FROM) is wide
            ]  # fmt: skip
            if words:
                found.append((sum(map(len, words)), len(words)))

    def misread(self, model: Pieces) -> tuple[float, float] | None:
        """Return letters for each token, if the model does not read them, and their share."""
        is_wide = sum(n for _, n in self.wide) > sum(n for _, n in self.narrow)
        counts = self.wide if is_wide else self.narrow
        ratio = _ratio(counts)
        if not counts or ratio >= (model.wide if is_wide else model.letters):
            return None
        return ratio, 1.0

    def foreign(self, model: Pieces) -> tuple[float, float] | None:
        """Return the same of a possible mix: of the texts with short pieces, if there are many."""
        least = model.letters - FEWER
        if (ratio := _ratio(self.narrow)) < least:
            return (ratio, 1.0) if self.narrow else None
        short = [count for count in self.narrow if _ratio([count]) < least]
        if len(short) <= FOREIGN_SHARE * self.texts and ratio >= model.letters:
            return None
        return _ratio(short), len(short) / self.texts


def misread(
    pieces: Pieces, texts: Sequence[str], languages: Sequence[str | None]
) -> Misread | None:
    """Return the languages that a model does not read; None if there are none.

    languages: of each text; None where unknown: then script and words of the text tell it. At most
    2,000 texts are looked at, in even steps.
    """
    step = -(-len(texts) // _SAMPLE) or 1
    groups: dict[tuple[str, bool], _Group] = defaultdict(_Group)
    sampled = range(0, len(texts), step)
    for row in sampled:
        own = languages[row]
        groups[own or guessed_language(texts[row]), not own].add(pieces.split(texts[row]))
    letters: dict[str, float] = {}
    shares: dict[str, float] = {}
    guesses = False
    for (name, guessed), group in sorted(groups.items(), key=lambda pair: -pair[1].texts):
        share = group.texts / len(sampled)
        if group.texts < _FEWEST or (guessed and share < GUESSED_SHARE):
            continue
        found = group.foreign(pieces) if guessed and name == UNKNOWN else group.misread(pieces)
        if found is not None:
            guesses |= guessed
            letters[name] = found[0]
            shares[name] = shares.get(name, 0.0) + share * found[1]
    if not shares:
        return None
    many = pieces.letters < LETTERS
    return Misread(letters=letters, shares=shares, guessed=guesses, many=many)


def _ratio(counts: Sequence[tuple[int, int]]) -> float:
    tokens = sum(n for _, n in counts)
    return sum(letters for letters, _ in counts) / tokens if tokens else 0.0
