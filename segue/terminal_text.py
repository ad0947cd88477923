"""Makes external text safe for a terminal: titles, ids, types, messages."""

import re

__all__ = ["printable"]

#: Control characters (an escape sequence begins with one), line and paragraph separators, marks
#: that turn the direction of the rest of the line, and halves of characters, which no terminal
#: can show. Tab and line feed are layout.
_UNSAFE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_OF_LINES = re.compile(f"[{_UNSAFE}]")
_OF_A_LINE = re.compile(f"[\t\n{_UNSAFE}]")


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return a text in which what could control a terminal is written as Python escapes it.

    lines: keep tabs and line feeds, for texts of several lines.

    >>> printable("Song\x1b]0;mine\x07")
    'Song\\x1b]0;mine\\x07'
    >>> printable("Live [/acoustic] session")
    'Live [/acoustic] session'
    """
    return (_OF_LINES if lines else _OF_A_LINE).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
