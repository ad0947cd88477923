"""Cursors of list pages: a cursor holds everything that determines a list, so no list is stored."""

import base64
import binascii

import msgspec
import xxhash

from dynamic_layer import UserState

__all__ = ["BadCursor", "Cursor", "fingerprint"]

#: Cursors are made here; a longer one is none of ours.
LONGEST = 400
#: Demand is read as of a cursor's time. Each time that is not the present has it counted apart, and
#: a time to come would have what is counted until then taken for late: so neither is far away.
#: Consoles' clocks may differ by a minute.
OLDEST_MS, AHEAD_MS = 86_400_000, 60_000


class BadCursor(ValueError):
    """A text that is not a cursor of this API."""


class Cursor(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True
):
    """A place in a list.

    offset:     items that the pages before had.
    now_ms:     the time at which the first page was made; ages of the history are as of then.
    generation: that the first page was made by.
    user:       fingerprint of what was known of the user then.
    wanted:     fingerprint of what was asked for: types, exclusions, repeats.
    """

    offset: int
    now_ms: int
    generation: int
    user: str
    wanted: str

    def text(self) -> str:
        """As it stands in a URL."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str, most: int, now_ms: int) -> "Cursor":
        """Read what `text` wrote in the last day.

        Raises BadCursor, also for an offset beyond `most`, or another time.
        """
        try:
            if len(text) > LONGEST or not text.isascii():
                raise BadCursor("it is too long, or not ASCII")
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            found = msgspec.json.decode(raw, type=cls)
        except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadCursor(str(error)) from error
        if not 0 <= found.offset <= most:
            raise BadCursor("it is outside every list")
        if not now_ms - OLDEST_MS <= found.now_ms <= now_ms + AHEAD_MS:
            raise BadCursor("it is older than a day, or of a time to come")
        return found


def fingerprint(user: UserState) -> str:
    """Return a short hash of what is known of a user: equal knowledge gives equal lists."""
    digest = xxhash.xxh3_64()
    for column in (user.history_item, user.history_time, user.history_strong):
        digest.update(column.tobytes())
    if user.history_known is not None:
        digest.update(user.history_known.tobytes() + user.disliked.tobytes())
    if user.shown is not None:
        digest.update(user.shown.items.tobytes() + user.shown.count.tobytes())
    digest.update(f"{user.country}\0{user.birth_year}".encode())
    return digest.hexdigest()
