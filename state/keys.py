"""Item keys: one 64-bit number for an item, the same in every partition and process."""

import xxhash


def item_key(item_type: str, item_id: str) -> int:
    """Return the unsigned 64-bit key of an item: xxh3 of type, NUL, id in UTF-8.

    >>> hex(item_key("podcast", "p1"))
    '0xbacc2d4883352590'
    """
    return xxhash.xxh3_64_intdigest(f"{item_type}\0{item_id}".encode())
