"""The listening events that every job of the throughput benchmark gets, and what they must become.

`work_of` is the definition of DESIGN.md, computed user by user and knowing nothing of any job's
code: how many pair deltas the events cause, and the sum and checksum of the counts they leave.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from streams import encode_events

__all__ = [
    "BUCKET_MS", "I64", "MASK", "U64", "Listening", "Totals", "Work", "item_hash", "pair_mix",
    "sum_pairs", "work_of",
]  # fmt: skip

BUCKET_MS = 86_400_000
DAYS = 90
START_MS = 1_735_689_600_000
"""2025-01-01: the events fill one window exactly, so that nothing expires and nothing is late."""

KINDS = ("stream", "follow", "preview", "intent")
KIND_SHARES = (0.85, 0.05, 0.05, 0.05)
ITEM_TYPES = ("podcast", "audiobook", "episode")
ITEMS = 20_000
ZIPF = 0.9
EVENTS_OF_A_USER = 40
CHUNK = 5_000
SESSION_EVENTS = 4
SESSION_STEP_MS = 180_000

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
MASK = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Events in the order of their time, as columns of n.

    user, item: int64, numbers behind the names; kind: int64, place in KINDS; time: int64, ms UTC.

    Users and their events come in chunks of 5,000 events, each drawn from (seed, chunk): fewer
    events of the same seed are all events of the first users, so that a user's history, and with
    it the work of one event, is the same however many events there are.
    """

    user: I64
    item: I64
    kind: I64
    time: I64

    @classmethod
    def generate(cls, events: int, seed: int) -> "Listening":
        """Draw events: Zipf items, users of unlike activity who come back, sessions."""
        popularity = np.arange(1, ITEMS + 1) ** -ZIPF
        chart = np.cumsum(popularity) / popularity.sum()
        of_rank = np.random.default_rng(seed).permutation(ITEMS)
        parts = [
            _chunk(min(CHUNK, events - first), np.random.default_rng((seed, number)), chart)
            for number, first in enumerate(range(0, events, CHUNK))
        ]
        user = np.concatenate([
            part[0] + number * (CHUNK // EVENTS_OF_A_USER) for number, part in enumerate(parts)
        ])  # fmt: skip
        rank, kind, time = (np.concatenate([part[i] for part in parts]) for i in (1, 2, 3))
        order = np.argsort(time, kind="stable")
        return cls(user=user[order], item=of_rank[rank[order]], kind=kind[order], time=time[order])

    def __len__(self) -> int:
        return len(self.user)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values for the events topic."""
        for first in range(0, len(self), CHUNK):
            part = slice(first, first + CHUNK)
            yield from encode_events(
                [f"user-{number:07d}" for number in self.user[part].tolist()],
                [item_name(number)[0] for number in self.item[part].tolist()],
                [item_name(number)[1] for number in self.item[part].tolist()],
                [KINDS[number] for number in self.kind[part].tolist()],
                self.time[part].tolist(),
            )


def _chunk(
    events: int, random: np.random.Generator, chart: npt.NDArray[np.float64]
) -> tuple[I64, I64, I64, I64]:
    """Users of one chunk from 0 on, ranks of their items, kinds and times, by user."""
    users = max(events // EVENTS_OF_A_USER, 1)
    activity = random.lognormal(0.0, 0.8, users)
    counts = random.multinomial(events, activity / activity.sum())
    user = np.repeat(np.arange(users), counts)

    # Everybody has some two items for three events, and comes back to the first of them most.
    pool = counts * 2 // 3 + 1
    ranks = np.searchsorted(chart, random.random(int(pool.sum())), side="right")
    pool_starts = np.cumsum(pool) - pool
    chosen = (random.random(events) ** 1.3 * pool[user]).astype(np.int64)
    rank = np.minimum(ranks[pool_starts[user] + chosen], ITEMS - 1)

    first = np.r_[True, user[1:] != user[:-1]]
    opens = first | (random.random(events) < 1 / SESSION_EVENTS)
    session = np.cumsum(opens) - 1
    begins = random.integers(0, (DAYS - 1) * BUCKET_MS, int(opens.sum()))
    steps = np.arange(events) - np.flatnonzero(opens)[session]
    # Sessions begin a day before the end of the window at the latest, so that none leaves it.
    time = START_MS + begins[session] + np.minimum(steps * SESSION_STEP_MS, BUCKET_MS - 1)
    kind = random.choice(len(KINDS), events, p=KIND_SHARES)
    return user, rank, kind, time


def item_name(number: int) -> tuple[str, str]:
    """Type and id of an item."""
    return ITEM_TYPES[number % len(ITEM_TYPES)], f"item-{number:05d}"


# What the events must become


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Pair counts of a state, summed so that two states with equal totals are equal.

    count:    sum of the counts of all live (bucket, pair), an item with itself included.
    checksum: sum of count times `pair_mix` of bucket and pair, modulo 2^64.
    """

    count: int
    checksum: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """What events cost and what they leave: pair deltas written, distinct users, totals."""

    deltas: int
    users: int
    totals: Totals


def item_hash(item_type: str, item_id: str) -> int:
    """FNV-1a of type, NUL, id, 64 bits: short enough to write down in any language.

    >>> hex(item_hash("podcast", "item-00000"))
    '0xce036824fa01ef37'
    """
    mixed = 0xCBF29CE484222325
    for byte in f"{item_type}\0{item_id}".encode():
        mixed = ((mixed ^ byte) * 0x100000001B3) & MASK
    return mixed


def pair_mix(bucket: int, a: int, b: int) -> int:
    """Mix a bucket and two item hashes, in any order, to 64 bits."""
    mixed = ((a * b) ^ (a + b)) + bucket * 0x9E3779B97F4A7C15
    mixed = (mixed * 0xBF58476D1CE4E5B9) & MASK
    return mixed ^ (mixed >> 32)


def work_of(listening: Listening) -> Work:
    """Compute what the definition makes of events, in the order of their time."""
    order = np.lexsort((listening.time, listening.user))
    user = listening.user[order]
    hashes = np.array([item_hash(*item_name(number)) for number in range(ITEMS)], np.uint64)
    deltas, count, checksum = _work(
        user,
        listening.item[order],
        listening.time[order] // BUCKET_MS,
        listening.kind[order] == KINDS.index("stream"),
        hashes,
    )
    totals = Totals(count=int(count), checksum=int(checksum))
    return Work(deltas=int(deltas), users=len(np.unique(user)), totals=totals)


def sum_pairs(parts: Iterable[tuple[U64, U64, U64, I64]]) -> Totals:
    """Sum counts given as (buckets, item hashes, item hashes, counts), each pair in one order."""
    count, checksum = 0, 0
    for buckets, a, b, counts in parts:
        mixed = ((a * b) ^ (a + b)) + buckets * np.uint64(0x9E3779B97F4A7C15)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        count += int(counts.sum())
        checksum += int((mixed * counts.astype(np.uint64)).sum())
    return Totals(count=count, checksum=checksum & MASK)


@njit(cache=True)
def _work(
    user: I64, item: I64, bucket: I64, strong: npt.NDArray[np.bool_], hashes: U64
) -> tuple[int, int, np.uint64]:
    """Deltas, sum of counts, checksum of events sorted by user and time."""
    events = len(user)
    mine, latest = np.empty(events, np.int64), np.empty(events, np.int64)
    deltas, count, checksum = 0, 0, np.uint64(0)
    begin = 0
    while begin < events:
        end, length = begin, 0
        while end < events and user[end] == user[begin]:
            if strong[end]:
                at = 0
                while at < length and mine[at] != item[end]:
                    at += 1
                was = latest[at] if at < length else -1
                now = max(was, bucket[end])
                if at == length:
                    mine[at] = item[end]
                    length += 1
                latest[at] = now
                for other in range(length):
                    # The item with itself is a pair, too: from `was` to `now`.
                    before, after = min(was, latest[other]), min(now, latest[other])
                    if before != after:
                        deltas += 1 + (before != -1)
            end += 1
        for a in range(length):
            for b in range(a, length):
                left, right = hashes[mine[a]], hashes[mine[b]]
                mixed = ((left * right) ^ (left + right)) + np.uint64(
                    min(latest[a], latest[b])
                ) * np.uint64(0x9E3779B97F4A7C15)
                mixed *= np.uint64(0xBF58476D1CE4E5B9)
                checksum += mixed ^ (mixed >> np.uint64(32))
        count += length * (length + 1) // 2
        begin = end
    return deltas, count, checksum
