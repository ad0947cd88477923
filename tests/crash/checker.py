"""What must be true after the faults: pure functions over the log, the states and the answers."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from state import StateSettings, Window
from streams import (
    DeadLetter,
    EventRules,
    LogRecord,
    Recommendation,
    TopicSettings,
    decode,
    decode_events,
)
from tests.state.dumps import Dump

__all__ = [
    "Listening",
    "Repeats",
    "consumed_items",
    "dead_letter_differences",
    "demand_differences",
    "listening",
    "repeats",
    "state_differences",
    "unanswered",
]

Place = tuple[str, int, int]
LIMIT = 10


def state_differences(states: Mapping[str, tuple[int, Dump]], log: Mapping[int, Dump]) -> list[str]:
    """First differences between states and a replay of the log; empty if all are equal.

    states: name -> (partition, dump), e.g. every copy on every disk, brought to the head.
    log:    partition -> dump of the replay.
    """
    found = []
    for name, (partition, mine) in states.items():
        found += [f"{name}: {line}" for line in mine.differences(log[partition], LIMIT)]
    return found


def demand_differences(
    told: Mapping[tuple[int, int], int], log: Iterable[Dump], first: int
) -> list[str]:
    """First differences between what the demand topic sums up to and a replay of the log.

    told: (bucket, item key) -> events; first: bucket from which on all of them are compared.
    """
    expected: Counter[tuple[int, int]] = Counter()
    for state in log:
        expected.update(state.demand)
    return [
        f"demand of item {place[1]} in bucket {place[0]}: {told.get(place)} told, {expected[place]}"
        for place in sorted(told.keys() | expected.keys())
        if place[0] >= first and told.get(place, 0) != expected[place]
    ][:LIMIT]


def dead_letter_differences(
    letters: Iterable[LogRecord], replayed: Iterable[tuple[bytes | None, bytes | None]]
) -> list[str]:
    """Refused records without a dead letter, dead letters without one, and other reasons."""
    mine = {record.key: _reason(record.value) for record in letters}
    theirs = {key: _reason(value) for key, value in replayed}
    keys = sorted(mine.keys() | theirs.keys(), key=repr)
    return [
        f"dead letter {key!r}: {mine.get(key)} and {theirs.get(key)}"
        for key in keys
        if mine.get(key) != theirs.get(key)
    ][:LIMIT]


@dataclass(frozen=True)
class Listening:
    """What the log says of the users.

    first:  user -> item (type, id) -> offset of the first strong event on it, which makes the item
            known; a weak signal does not. Events that the window has
            left by the end are not in it: the first of a partition may be as old as it likes, and
            its item may be recommended as soon as a newer one has come.
    latest: user -> place of the latest event.
    """

    first: dict[str, dict[tuple[str, str], int]]
    latest: dict[str, Place]


def listening(
    records: Iterable[LogRecord],
    rules: EventRules,
    refused: Iterable[Place],
    window: Window,
    strong: Collection[str] = StateSettings().graph_kinds,
) -> Listening:
    """Read the events that are in the state: decodable ones that were not refused later on.

    strong: kinds of events that make an item known.
    """
    first: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    latest: dict[str, Place] = {}
    partitions: dict[tuple[str, int], list[LogRecord]] = defaultdict(list)
    for record in records:
        partitions[record.topic, record.partition].append(record)
    gone = set(refused)
    for (topic, partition), found in partitions.items():
        events, _ = decode_events(sorted(found, key=lambda record: record.offset), rules)
        buckets = events.timestamp // window.bucket_ms
        live = (buckets >= window.first_live(int(buckets.max(initial=0)))).tolist()
        for row, offset in enumerate(events.offset.tolist()):
            if (topic, partition, offset) in gone:
                continue
            user = events.user_id[row]
            if live[row] and events.kind[row] in strong:
                first[user].setdefault((events.item_type[row], events.item_id[row]), offset)
            latest[user] = (topic, partition, offset)
    return Listening(dict(first), latest)


def unanswered(
    heard: Listening, answers: Iterable[Recommendation], since: Mapping[int, int]
) -> list[str]:
    """Users with events after the last fault whose answer does not know the latest of them.

    since: partition -> end offset of the events topic at the last fault. After the workers have
    drained the log and an interval has passed, nothing may be left to answer.
    """
    known: dict[str, int] = {}
    for answer in answers:
        if answer.source and answer.user_id in heard.latest:
            topic, partition, _ = heard.latest[answer.user_id]
            if (answer.source.topic, answer.source.partition) == (topic, partition):
                offset = answer.source.offset
                known[answer.user_id] = max(known.get(answer.user_id, -1), offset)
    return [
        f"{user}: latest event at {topic}/{partition}/{offset}, latest answer knows "
        f"{known.get(user, 'none')}"
        for user, (topic, partition, offset) in sorted(heard.latest.items())
        if offset >= since.get(partition, 0) and known.get(user, -1) < offset
    ]


def consumed_items(
    heard: Listening, answers: Iterable[Recommendation], topics: TopicSettings
) -> list[str]:
    """Recommendations of items that the user had at the recommendation's source offset."""
    found = []
    for answer in answers:
        if answer.source is None or answer.source.topic != topics.events:
            continue
        had = heard.first.get(answer.user_id, {})
        for item in answer.items:
            at = had.get((item.item_type, item.item_id))
            if at is not None and at <= answer.source.offset:
                found.append(
                    f"{answer.user_id} was recommended {item.item_type} {item.item_id} in "
                    f"{answer.list} at offset {answer.source.offset}, had it since {at}"
                )
    return found[:LIMIT]


@dataclass
class Repeats:
    """What a consumer that drops repeats by (source, generation, list) sees.

    answers:   records read.
    repeated:  records dropped since their key was seen before.
    differing: of these, records that name other items than the one kept, or name them otherwise
               ranked. They are answers to the same event at another time: the age of a history's
               entries is measured against the moment of the answer, and what is read again
               after a fault is answered with what is known by then. All of them leave out what
               the user had at the event; a consumer keeps either.
    """

    answers: int = 0
    repeated: int = 0
    differing: int = 0
    differing_at_once: list[str] = field(default_factory=list)


def repeats(answers: Sequence[Recommendation]) -> Repeats:
    """Drop repeats by their key, and count."""
    seen: dict[tuple[Place, int, str], Recommendation] = {}
    found = Repeats(answers=len(answers))
    for answer in answers:
        if answer.source is None:
            continue
        source = answer.source
        key = (
            (source.topic, source.partition, source.offset), answer.generation, answer.list,
        )  # fmt: skip
        kept = seen.setdefault(key, answer)
        if kept is answer:
            continue
        found.repeated += 1
        if _names(kept) != _names(answer):
            found.differing += 1
            if kept.created_at == answer.created_at or kept.user_id != answer.user_id:
                found.differing_at_once.append(f"{key}: two answers at {answer.created_at}")
    return found


def _names(answer: Recommendation) -> list[tuple[str, str]]:
    return [(item.item_type, item.item_id) for item in answer.items]


def _reason(value: bytes | None) -> str:
    return decode(DeadLetter, value or b"").reason.value
