"""Texts that are items by themselves: many ways to write one, and one id."""

from collections.abc import Sequence
from unicodedata import normalize


def normal_text(text: str) -> str:
    """Return the form in which a text is an id; the normal form of a normal form is itself.

    Unicode NFKC, case folded, white space collapsed. A text of white space alone becomes empty,
    which is no id. What a text becomes never changes with a newer Unicode, unless it has characters
    that the older one did not know.

    >>> normal_text("  Foo\\t\u0130stanbul \uff22ar ")
    'foo i\u0307stanbul bar'
    """
    # Case folding takes some characters out of NFKC.
    return " ".join(normalize("NFKC", normalize("NFKC", text).casefold()).split())


def normal_ids(
    item_types: Sequence[str], item_ids: list[str], text_types: frozenset[str]
) -> list[str]:
    """Return ids, those of the text types in their normal form."""
    if text_types.isdisjoint(item_types):
        return item_ids
    return [
        normal_text(item_id) if item_type in text_types else item_id
        for item_type, item_id in zip(item_types, item_ids, strict=True)
    ]
