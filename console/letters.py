"""Dead letters for their page: kept, grouped by reason, and what to do for each reason."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from streams import DeadLetter, LogRecord, Reason, readable

__all__ = ["FIXES", "Letters"]

#: Newest dead letters of a reason that are shown in full, and characters of their records.
SHOWN = 20
PAYLOAD_CHARACTERS = 500

FIXES = {
    Reason.EMPTY: "The record has neither a value nor a key. Find the producer that writes it; to"
    " delete something, write a null value under its key.",
    Reason.TOO_LARGE: "The record is longer than the limit in the error. Write less into it, for"
    " example a shorter description.",
    Reason.MALFORMED: "The value is not valid JSON or Avro. If the topic has a format of its own,"
    " describe it as a source and test it with `segue sources check`.",
    Reason.WRONG_TYPE: "A field has another type than expected, often after a producer's release."
    " Tell its owners, or map the field in the source.",
    Reason.MISSING_FIELD: "A required field is missing, often after a producer's release. Tell its"
    " owners, or map the field in the source.",
    Reason.UNKNOWN_KIND: "The kind of event is not declared. Map it in the source, declare it in"
    " `events.actions`, or leave it out with `ignore`.",
    Reason.UNKNOWN_TYPE: "The item type is not in the source's mapping. Add it there.",
    Reason.UNKNOWN_LIST: "A request names a list that is not configured. Add the list to the"
    " settings, or correct the application.",
    Reason.BAD_ID: "An id is empty, too long, or has characters that no id can have. Correct the"
    " producer.",
    Reason.MISSING_KEY: "The record has no key, but needs one. Key events by user and items by"
    " type and id, or run `segue rekey`.",
    Reason.KEY_MISMATCH: "The key is not that of the record's content. Key events by user, or run"
    " `segue rekey`.",
    Reason.FUTURE: "The time is ahead of the log's. Correct the clock of the device or of the"
    " producer, or the unit: times are in milliseconds.",
    Reason.BEFORE_EPOCH: "The time is before 1970. Correct the producer, or the unit: times are in"
    " milliseconds.",
    Reason.TOO_OLD: "The event is older than the window. A few are normal after an outage; for a"
    " longer history, enlarge `state.window`.",
    Reason.FAILED: "No list could be made for this user; the event itself is applied. The worker's"
    " log has the error.",
}


class Letters:
    """The newest dead letters, by the time at which the log took them."""

    def __init__(self, most: int) -> None:
        """most: dead letters that are kept."""
        self._most = most
        # Partitions are read one after another, so this order is not that of their arrival.
        self._newest: list[tuple[int, DeadLetter]] = []

    def came(self, records: Sequence[LogRecord]) -> None:
        """Take records of the dead letters' topic."""
        self._newest += [(r.timestamp, letter) for r, letter in readable(DeadLetter, records)]
        self._newest.sort(key=itemgetter(0), reverse=True)
        del self._newest[self._most :]

    def view(self) -> dict[str, Any]:
        """Reasons with the most letters first: how many, when, from where, the newest, the fix."""
        of_reason: dict[Reason, list[tuple[int, DeadLetter]]] = {}
        for at, letter in self._newest:
            of_reason.setdefault(letter.reason, []).append((at, letter))
        groups = sorted(of_reason.items(), key=lambda group: -len(group[1]))
        return {
            "kept": len(self._newest),
            "most": self._most,
            "reasons": [
                {
                    "reason": reason.value,
                    "count": len(group),
                    "newest": group[0][0],
                    "oldest": group[-1][0],
                    "topics": Counter(letter.source.topic for _, letter in group),
                    "fix": FIXES[reason],
                    "letters": [_shown(at, letter) for at, letter in group[:SHOWN]],
                }
                for reason, group in groups
            ],
        }


def _shown(at: int, letter: DeadLetter) -> dict[str, Any]:
    return {
        "logged_at": at,
        "detail": letter.detail,
        "source": msgspec.to_builtins(letter.source),
        "payload": letter.payload[:PAYLOAD_CHARACTERS],
        "encoding": letter.encoding,
        "payload_bytes": letter.payload_bytes,
    }
