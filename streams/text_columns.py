"""Columns of texts that are decoded to strings only on access."""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["AsciiTexts", "CodedTexts"]

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

_LINE = ord("\n")


class _Texts(Sequence[str]):
    """A sequence of strings that are made on first access."""

    __slots__ = ("_strings",)
    _strings: list[str] | None

    def _made(self) -> list[str]:
        raise NotImplementedError

    @property
    def strings(self) -> list[str]:
        """All strings, made once."""
        if self._strings is None:
            self._strings = self._made()
        return self._strings

    def __iter__(self) -> Iterator[str]:
        """Yield the strings."""
        return iter(self.strings)

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence has the same strings."""
        return self.strings == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        """Return the strings as a list is shown."""
        return repr(self.strings)


class AsciiTexts(_Texts):
    """Texts of ASCII without line breaks: text i is data[begins[i]:ends[i]]."""

    __slots__ = ("_begins", "_data", "_ends")

    def __init__(self, data: U8, begins: I64, ends: I64) -> None:
        """Take over uint8 [b], int64 [n] and int64 [n]."""
        self._data, self._begins, self._ends = data, begins, ends
        self._strings = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._begins)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "AsciiTexts": ...
    def __getitem__(self, at: int | slice) -> "str | AsciiTexts":
        """Return one string, or some texts as a column over the same bytes."""
        if isinstance(at, slice):
            if at in _WHOLE:
                return self
            return AsciiTexts(self._data, self._begins[at], self._ends[at])
        if self._strings is not None:
            return self._strings[at]
        return self._data[self._begins[at] : self._ends[at]].tobytes().decode("ascii")

    def utf8(self) -> tuple[U8, I64, I64]:
        """Return the bytes, and where each text begins and ends in them."""
        return self._data, self._begins, self._ends

    def _made(self) -> list[str]:
        """Make all strings in one call: half the price of slices."""
        if not len(self):
            return []
        lines = np.empty(int((self._ends - self._begins).sum()) + len(self), np.uint8)
        _copy_lines(self._data, self._begins, self._ends, lines)
        return lines[:-1].tobytes().decode("ascii").split("\n")


class CodedTexts(_Texts):
    """Texts of which few are distinct: text i is names[codes[i]]. codes: int64 [n]."""

    __slots__ = ("codes", "names")

    def __init__(self, names: Sequence[str], codes: I64) -> None:
        """Take over the columns."""
        self.names, self.codes = names, codes
        self._strings = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.codes)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "CodedTexts": ...
    def __getitem__(self, at: int | slice) -> "str | CodedTexts":
        """Return one string, or some texts as a column."""
        if isinstance(at, slice):
            return self if at in _WHOLE else CodedTexts(self.names, self.codes[at])
        return self.names[int(self.codes[at])]

    def _made(self) -> list[str]:
        return [self.names[code] for code in self.codes.tolist()]


#: Slices that leave out nothing, whose strings may be made already.
_WHOLE = (slice(None), slice(0, None))


@njit(cache=True)
def _copy_lines(data: U8, begins: I64, ends: I64, lines: U8) -> None:
    """Copy texts one behind the other, each with a line break behind it."""
    at = 0
    for row in range(len(begins)):
        for k in range(begins[row], ends[row]):
            lines[at] = data[k]
            at += 1
        lines[at] = _LINE
        at += 1
