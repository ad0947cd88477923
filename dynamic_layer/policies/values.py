"""Values of expressions over many items at once: numbers, truth in SQL's three values, texts.

A value is of one item slot each, or of none: a plain Python value, the same for all items.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.policies.columns import Column, time_ms

__all__ = [
    "Codes",
    "Truth",
    "Words",
    "agree",
    "all_of",
    "among",
    "arithmetic",
    "codes_of",
    "compared",
    "equal_texts",
    "first_known",
    "is_in",
    "is_null",
    "like",
    "lowered",
    "matches",
    "number_of",
    "of_words",
    "overlap",
    "time_of",
    "truth_of",
]


class Words(Protocol):
    """Texts, or sets of texts, by place."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> Any: ...


_OPERATORS = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "%": np.mod}


class Truth(NamedTuple):
    """Whether something holds, bool [m] or one for all; neither is SQL's NULL."""

    true: Any
    false: Any

    def __and__(self, other: "Truth") -> "Truth":
        return Truth(self.true & other.true, self.false | other.false)

    def __or__(self, other: "Truth") -> "Truth":
        return Truth(self.true | other.true, self.false & other.false)

    def __invert__(self) -> "Truth":
        return Truth(self.false, self.true)

    @classmethod
    def of(cls, holds: Any, known: Any = True) -> "Truth":
        """Return the truth of what holds, bool [m], where it is known."""
        holds = np.asarray(holds, np.bool_)
        return cls(holds & known, ~holds & known)


class Codes(NamedTuple):
    """Texts or lists of texts of m items: i32 [m], places in `words`, -1 for NULL.

    find: the place of a text, negative where no item has it; None where words must be looked at.
    """

    codes: NDArray[np.int32]
    words: Words
    find: Callable[[str], int] | None = None


def codes_of(column: Column, slots: Any, type_name: str) -> Codes:
    """Return the texts or lists of slots in a column."""
    return Codes(column.codes(slots, type_name), column.words, column.place)


def arithmetic(name: str, left: Any, right: Any) -> Any:
    """Return left + right, or another of + - * / %; NaN (NULL) where it is no finite number."""
    with np.errstate(all="ignore"):
        found = _OPERATORS[name](left, right)
    return np.where(np.isfinite(found), found, np.nan)


def compared(name: str, left: Any, right: Any) -> Truth:
    """Return whether numbers compare so; unknown where one of them is NaN."""
    operators: dict[str, Callable[[Any, Any], Any]] = {
        "=": np.equal, "<>": np.not_equal, "<": np.less, "<=": np.less_equal,
        ">": np.greater, ">=": np.greater_equal,
    }  # fmt: skip
    known = ~(np.isnan(left) | np.isnan(right))
    return Truth.of(operators[name](left, right), known)


def of_words(value: Codes, test: Callable[[Any], bool]) -> Truth:
    """Return whether a test holds for each item's text or list; it is made once for each word."""
    codes, known = value.codes, value.codes >= 0
    if len(codes) < len(value.words):
        found, place = np.unique(codes, return_inverse=True)
        used = found.tolist()
    else:  # without sorting
        there = np.bincount(codes + 1) > 0
        used = (np.flatnonzero(there) - 1).tolist()
        place = np.cumsum(there)[codes + 1] - 1
    holds = [code >= 0 and test(value.words[code]) for code in used]
    return Truth.of(np.array(holds, np.bool_)[place], known)


def among(value: Any, words: frozenset[str]) -> Truth:
    """Return whether a text is one of some words."""
    if value is None:
        return Truth(np.False_, np.False_)
    if not isinstance(value, Codes):
        return Truth.of(value in words)
    if value.find is None:
        return of_words(value, words.__contains__)
    wanted = np.array([value.find(word) for word in words], np.int32)
    return Truth.of(np.isin(value.codes, wanted), value.codes >= 0)


def equal_texts(left: Any, right: Any) -> Truth:
    """Return whether two texts or lists are the same."""
    if isinstance(right, Codes) and isinstance(left, str):
        left, right = right, left
    if isinstance(left, Codes) and isinstance(right, str):
        return among(left, frozenset((right,)))
    return matches(left, right, lambda a, b: bool(a == b))


def matches(left: Any, right: Any, test: Callable[[Any, Any], bool]) -> Truth:
    """Return whether a test of two texts or lists holds; either may be one value for all."""
    if left is None or right is None:
        return Truth(np.False_, np.False_)
    if isinstance(left, Codes) and isinstance(right, Codes):
        pairs, place = np.unique(
            np.stack([left.codes, right.codes]), axis=1, return_inverse=True
        )  # fmt: skip
        holds = [
            a >= 0 and b >= 0 and test(left.words[a], right.words[b]) for a, b in pairs.T.tolist()
        ]
        known = (left.codes >= 0) & (right.codes >= 0)
        return Truth.of(np.array(holds, np.bool_)[place.ravel()], known)
    if isinstance(left, Codes):
        return of_words(left, lambda word: test(word, right))
    if isinstance(right, Codes):
        return of_words(right, lambda word: test(left, word))
    return Truth.of(test(left, right))


def like(pattern: str) -> Callable[[Any], bool]:
    r"""Return the test of SQL's LIKE: % is any text, _ one character, both literal after a \.

    >>> like("a%c_")("abbcd"), like(r"100\%")("100x")
    (True, False)
    """
    # One step for each character of a text: a chain of .* would try all ways to divide it.
    parts = re.findall(r"\\.|%|[^%\\]+|\\", pattern, re.DOTALL)
    pieces: list[str] = [""]
    for part in parts:
        if part == "%":
            pieces.append("")
        else:
            plain = part[1:] if len(part) > 1 and part[0] == "\\" else None
            pieces[-1] += (
                re.escape(plain)
                if plain is not None
                else "".join("." if one == "_" else re.escape(one) for one in part)
            )
    compiled = [re.compile(piece, re.DOTALL) for piece in pieces]
    return lambda text: _is_like(compiled, text)


def _is_like(pieces: Sequence[re.Pattern[str]], text: str) -> bool:
    """Match the first piece at the start, the last at the end, the others one behind another."""
    if len(pieces) == 1:
        return pieces[0].fullmatch(text) is not None
    first = pieces[0].match(text)
    if first is None:
        return False
    at = first.end()
    for piece in pieces[1:-1]:
        found = piece.search(text, at)
        if found is None:
            return False
        at = found.end()
    # Each piece matches texts of one length only, so that the end says where the last begins.
    length = _length(pieces[-1].pattern)
    return len(text) - length >= at and pieces[-1].match(text, len(text) - length) is not None


def _length(pattern: str) -> int:
    return len(re.sub(r"\\(.)", r"\1", pattern, flags=re.DOTALL))


def all_of(parts: list[Truth]) -> Truth:
    """Return whether all of some conditions hold."""
    found = parts[0]
    for part in parts[1:]:
        found &= part
    return found


def number_of(value: Any) -> Any:
    """Return a number; NaN for None."""
    return np.float64(np.nan) if value is None else value


def truth_of(value: Any) -> Truth:
    """Return the truth of 1, 0 and NaN, or of a Python value."""
    if value is None:
        return Truth(np.False_, np.False_)
    return Truth(np.equal(value, 1), np.equal(value, 0))


def agree(left: Truth, right: Truth) -> Truth:
    """Return whether two conditions both hold, or both do not."""
    return (left & right) | (~left & ~right)


def is_in(word: str, words: frozenset[str]) -> bool:
    """Whether a text is one of some."""
    return word in words


def overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two lists share a text."""
    return not one.isdisjoint(other)


def is_null(value: Any) -> Any:
    """Return whether a value is NULL, bool [m] or one for all."""
    if value is None:
        return np.True_
    if isinstance(value, Truth):
        return ~(value.true | value.false)
    if isinstance(value, Codes):
        return value.codes < 0
    return np.isnan(value) if not isinstance(value, str | frozenset) else np.False_


def first_known(values: list[Any]) -> Any:
    """Return the first value that is not NULL."""
    found = values[0]
    for value in values[1:]:
        if isinstance(found, Truth):
            known = found.true | found.false
            found = Truth(
                np.where(known, found.true, value.true), np.where(known, found.false, value.false)
            )
        else:
            found = np.where(np.isnan(number_of(found)), number_of(value), number_of(found))
    return found


def lowered(value: Any) -> Any:
    """Return texts in lower case."""
    if isinstance(value, Codes):
        return Codes(value.codes, _Lowered(value.words))
    return None if value is None else value.lower()


class _Lowered:
    """Words in lower case; each is made when it is read."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, place: int) -> Any:
        return self._words[place].lower()


def time_of(value: Any) -> Any:
    """Return ms UTC of a text; NaN for what is no time."""
    return np.float64(time_ms(value)) if isinstance(value, str) else np.float64(np.nan)
