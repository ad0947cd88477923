"""Records that come over HTTP: checked as workers check them, then written to their topics."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from console.batching import Overloaded, Together
from console.idempotency import Remembered
from console.metrics import ConsoleMetrics
from console.problems import Problem
from console.settings import TokenSettings, WriteSettings
from console.writers import KeyValue, Placed, Writer
from streams import EventRules, Source, TopicSettings
from streams.checked_rows import (
    CheckedRows,
    check_events,
    check_impressions,
    check_items,
    check_users,
)

__all__ = ["Body", "InFlight", "Writes"]

logger = logging.getLogger(__name__)

#: Bodies that are written together, at most.
TOGETHER = 64


class InFlight:
    """Bytes of bodies that are received but not yet in the log."""

    def __init__(self, most: int) -> None:
        """Allow so many."""
        self._most = most
        self.bytes = 0

    def take(self, more: int) -> None:
        """Count more bytes. Raises Overloaded where that is too many."""
        if self.bytes + more > self._most:
            raise Overloaded(f"{self._most} bytes are being written already")
        self.bytes += more

    def give_back(self, fewer: int) -> None:
        """Count fewer bytes."""
        self.bytes -= fewer


@dataclass(frozen=True, kw_only=True)
class Body:
    """What was sent: bytes, as one JSON value or as lines; by which token; under which key."""

    content: bytes
    lines: bool
    token: TokenSettings
    key: str | None


class Writes:
    """Checks and writes rows; an answer is given once the log has them."""

    def __init__(
        self,
        writer: Writer,
        topics: TopicSettings,
        rules: EventRules,
        settings: WriteSettings,
        clock_ms: Callable[[], int],
        metrics: ConsoleMetrics,
        *,
        impressions: bool = False,
    ) -> None:
        """Write through `writer`; rules: which events workers accept.

        impressions: whether workers read those that are written here.
        """
        self._impressions = impressions
        self.in_flight = InFlight(settings.in_flight_bytes)
        self._settings = settings
        self._metrics = metrics
        self._remembered = Remembered(settings.keys, settings.key_bytes)
        self._kinds: dict[str, _Kind] = {
            name: _Kind(
                topic=topic,
                by_user=topic != topics.catalogue,
                check=check,
                write=Together(_writing(writer, topic), TOGETHER, waiting=TOGETHER * 8),
            )
            for name, topic, check in (
                ("events", topics.events, lambda rows: check_events(rows, rules, clock_ms())),
                (
                    "impressions",
                    topics.impressions,
                    lambda rows: check_impressions(rows, rules, clock_ms()),
                ),
                ("items", topics.catalogue, check_items),
                ("users", topics.users, check_users),
            )
        }

    async def accept(self, name: str, body: Body) -> tuple[bytes, bool]:
        """Write a body's rows to the topic of `name`: events, impressions, items or users.

        Returns the JSON of the answer, and whether it repeats an earlier one. Takes over the bytes
        that were counted in `in_flight` for the body. Raises Problem, Overloaded, NotWritten.
        """
        kind = self._kinds[name]

        async def make() -> bytes:
            return await self._write(name, kind, body)

        try:
            if body.key is None:
                task, repeated = asyncio.ensure_future(make()), False
            else:
                owned = (body.token.name, name, body.key)
                task, repeated = self._remembered.answer(owned, body.content, make)
        except BaseException:
            self.in_flight.give_back(len(body.content))
            raise
        if repeated:
            self.in_flight.give_back(len(body.content))
        else:
            # The bytes are in memory until the log has them, even if no request waits any more.
            task.add_done_callback(lambda done: self._ended(len(body.content), done))
        done, _ = await asyncio.wait({task}, timeout=self._settings.wait_s)
        if not done:
            raise Problem(
                503,
                f"the log has not acknowledged the records within {self._settings.wait_s:g} s; "
                "they may still be written: repeat the request with the same Idempotency-Key",
                headers={"Retry-After": "5"},
            )
        return task.result(), repeated

    def _ended(self, held: int, task: "asyncio.Task[bytes]") -> None:
        self.in_flight.give_back(held)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Problem):
            logger.warning("records that came over HTTP were not written: %r", error)

    async def _write(self, name: str, kind: "_Kind", body: Body) -> bytes:
        if name == "impressions" and not self._impressions:
            raise Problem(
                409,
                "nothing would read impressions: the settings name no source of the topic "
                f"{kind.topic} with format impressions",
            )
        rows = _rows(body, self._settings.rows)
        found = kind.check(rows)
        if body.token.user_prefix and kind.by_user:
            found = found.of_users(body.token.user_prefix)
        count = self._metrics.rows
        count(name, "refused", len(found.bad))
        count(name, "ignored", found.ignored)
        if not found.records and not found.ignored:
            errors = [
                {"where": f"body.{row.index}", "what": f"{row.reason.value}: {row.detail}"}
                for row in found.bad
            ]
            raise Problem(422, "workers would refuse all of these records", errors=errors)
        places = await kind.write(found.records) if found.records else []
        count(name, "written", len(places))
        return msgspec.json.encode(_answer(kind.topic, found, places))


@dataclass(frozen=True, kw_only=True)
class _Kind:
    topic: str
    by_user: bool
    check: Callable[[Sequence[bytes]], CheckedRows]
    write: Together[Sequence[KeyValue], list[Placed]]


def _writing(writer: Writer, topic: str) -> Callable[..., Any]:
    async def write(bodies: Sequence[Sequence[KeyValue]]) -> list[list[Placed]]:
        """Write the records of several bodies at once; returns the places of each body's."""
        places = iter(await writer.append_many(topic, [row for rows in bodies for row in rows]))
        return [[next(places) for _ in rows] for rows in bodies]

    return write


def _rows(body: Body, most: int) -> list[bytes]:
    """Return the JSON of each row of a body. Raises Problem."""
    content = body.content
    try:
        if body.lines:
            rows = [row for line in content.split(b"\n") if (row := line.strip())]
        elif content.lstrip()[:1] == b"[":
            rows = [bytes(row) for row in msgspec.json.decode(content, type=list[msgspec.Raw])]
        else:
            rows = [bytes(msgspec.json.decode(content, type=msgspec.Raw))]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(
            422, f"the body is neither a JSON object nor an array of such: {error}"
        ) from error
    if not rows:
        raise Problem(422, "the body has no record")
    if len(rows) > most:
        raise Problem(413, f"a request may have {most} records, this one has {len(rows)}")
    return rows


def _answer(topic: str, found: CheckedRows, places: Sequence[Placed]) -> dict[str, Any]:
    """Return the members of an answer: `wire.Accepted`."""
    last: dict[int, int] = {}
    for partition, offset in places:
        last[partition] = max(offset, last.get(partition, -1))
    sources = [Source(topic=topic, partition=n, offset=last[n]) for n in sorted(last)]
    return {
        "accepted": len(places),
        "ignored": found.ignored,
        "rejected": len(found.bad),
        "errors": [
            {"index": row.index, "reason": row.reason.value, "detail": row.detail}
            for row in found.bad
        ],
        "positions": sources,
        "at_least": [source.place.decode() for source in sources],
    }
