"""What has to be so in the morning, by the log alone."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from agents.working.partitions import user_state
from dynamic_layer import Popularity, hashed_share
from dynamic_layer.examples.replay import pad
from streams import DeadLetter, LogRecord, Receipt, Recommendation, decode, murmur2_partition
from streams.codec import decode_events
from streams.event_batch import Erasure
from tests.agents.definition import counting_events, defined_dump, files_with_each
from tests.simulated.bundles import DYNAMIC
from tests.simulated.learning import unique_examples
from tests.simulated.night import Night
from tests.simulated.purging import wait_for_removals
from tests.simulated.workers import OF_HISTORY
from tests.simulated.worlds import BY_USER, PARTITIONS, RULES, SOURCES, STATE, TOPICS, USERS
from tests.state.dumps import dump


def differences(night: Night) -> Iterator[str]:
    """Yield what is not as the log says, a line each."""
    yield from night.wrong
    erasures = {part: list(_erasures(night, part)) for part in range(PARTITIONS)}
    stay = set()
    for part in range(PARTITIONS):
        records = {topic: night.log.read(topic, part, 0, 100_000) for topic in BY_USER}
        ids = night.recreation.ids()
        events = counting_events(records, TOPICS.events, part, RULES, SOURCES, ids)
        stay |= {event.user_id for event in events}
        [owner] = [life for life in night.lives.values() if part in life.owned]
        found = replace(dump(owner.worker.partitions[part]), demand={})
        defined = defined_dump(night.folder / "defined", events, STATE)
        end = night.log.end_offset(TOPICS.catalogue, part)
        defined = replace(defined, catalogue=night.catalogue.stored(part, end))
        yield from (f"partition {part}: {line}" for line in found.differences(defined))
        yield from night.console.differences(part, defined)
    wait_for_removals(night)
    left = files_with_each(night.folder, USERS)
    for user in set(USERS) - stay:
        erased = any(erasure.user_id == user for of in erasures.values() for erasure in of)
        if not erased:
            continue
        if files := night.left_at_dawn[user]:
            yield f"{user} is erased, and without further events still in {files}"
        if files := left[user]:
            yield f"{user} is erased, and is in {files}"
    yield from _learned(night)
    yield from _letters(night, erasures)
    yield from _receipts(night, erasures)
    yield from _answers(night, erasures)
    yield from _positions(night)
    # A list that is written of the last one would have impressions, which are events too.
    yield from _lists(night, erasures, (stay | night.recreation.users) - {night.erased_last})


def _records(night: Night, topic: str) -> Iterator[LogRecord]:
    """Yield all records of a topic."""
    for part in range(night.log.partitions(topic)):
        yield from night.log.read(topic, part, 0, 100_000)


def _erasures(night: Night, part: int) -> list[Erasure]:
    return decode_events(night.log.read(TOPICS.events, part, 0, 100_000), RULES)[0].erasures


def _letters(night: Night, erasures: dict[int, list[Erasure]]) -> Iterator[str]:
    """Each bad record has a dead letter, and no good one has.

    A record of a user who is erased may be passed over: its letter would hold what it says.
    """
    found = set()
    for record in _records(night, TOPICS.dead_letters):
        letter = decode(DeadLetter, record.value or b"")
        if letter.reason != "too_old":
            found.add(letter.source.place)
    erased = {erasure.user_id for those in erasures.values() for erasure in those}
    expected = {place for place, user in night.bad.items() if user not in erased}
    if missing := expected - found:
        yield f"no dead letter for {sorted(missing)}"
    if more := found - night.bad.keys() - night.recreation.bad:
        yield f"a dead letter for good records {sorted(more)}"


def _receipts(night: Night, erasures: dict[int, list[Erasure]]) -> Iterator[str]:
    """Each erasure has a receipt, and nothing else has one."""
    found = set()
    for record in _records(night, TOPICS.receipts):
        source = decode(Receipt, record.value or b"").source
        found.add((source.partition, source.offset))
    known = {(part, erasure.offset) for part, those in erasures.items() for erasure in those}
    yield from (f"a receipt for no erasure, at {place}" for place in sorted(found - known))
    for part, those in erasures.items():
        for erasure in those:
            if (part, erasure.offset) not in found:
                yield f"no receipt for the erasure of {erasure.user_id} at {part}/{erasure.offset}"


def _answers(night: Night, erasures: dict[int, list[Erasure]]) -> Iterator[str]:
    """Each request is answered, unless its user was erased while it waited, and nothing else is."""
    answered = set()
    for record in _records(night, TOPICS.recommendations):
        source = decode(Recommendation, record.value).source if record.value else None
        if source is not None and source.topic == TOPICS.requests:
            answered.add((source.partition, source.offset))
    erased = {erasure.user_id for those in erasures.values() for erasure in those}
    for record in _records(night, TOPICS.requests):
        user = (record.key or b"").decode()
        place = (record.partition, record.offset)
        if place not in answered and user not in erased:
            yield f"request {place[0]}/{place[1]} of {user} is not answered"
        answered.discard(place)
    yield from (f"no request is at {place}, and it is answered" for place in sorted(answered))


def _positions(night: Night) -> Iterator[str]:
    """Workers have read each partition to its end, also where no record lies there."""
    for life in night.lives.values():
        for (topic, part), found in sorted(life.worker.positions().items()):
            if part in life.owned and found != (end := night.log.end_offset(topic, part)):
                yield f"worker {life.number} has read {topic}/{part} up to {found}, not {end}"


def _lists(
    night: Night, erasures: dict[int, list[Erasure]], stay: AbstractSet[str | None]
) -> Iterator[str]:
    """The last list of each user was made from all of the history.

    That of an erased user without further events was made from nothing, and withdrawn if nobody
    has asked for one. stay: users with events that no erasure covers, also such as have left the
    window, or were in a topic that is gone, since the list was made.
    """
    erased = {erasure.user_id for those in erasures.values() for erasure in those}
    asked = {(record.key or b"").decode() for record in _records(night, TOPICS.requests)}
    asked.discard(night.erased_last or "")
    last: dict[str, set[int]] = {}
    withdrawn: dict[str, bool] = {}
    for record in _records(night, TOPICS.recommendations):
        said = decode(Recommendation, record.value) if record.value else None
        user = (record.key or b"").decode()
        if said is None or said.list == OF_HISTORY:
            last[user] = {int(item.item_id) for item in said.items} if said is not None else set()
        withdrawn[user] = record.value is None
    for part in range(PARTITIONS):
        [owner] = [life for life in night.lives.values() if part in life.owned]
        state = owner.worker.partitions[part]
        for user in USERS:
            history = set(user_state(state, user).history_item.tolist())
            listed = last.get(user, set())
            if user not in erased and (missing := history - listed):
                yield f"the last list of {user} knows nothing of {sorted(missing)}"
            of_part = murmur2_partition(user.encode(), PARTITIONS) == part
            if user in erased and of_part and user not in stay and listed:
                yield f"{user} is erased, and the last list was made from {sorted(listed)}"
            silent = user in erased and of_part and user not in stay | asked
            if silent and not withdrawn.get(user, True):
                yield f"{user} is erased, and a list was written afterwards"


def _learned(night: Night) -> Iterator[str]:
    """The trainer has taken each example once that came after the graph, and counted each event."""
    life = night.learning.life
    if life is None or (trainer := life.train._trainer) is None:
        yield "there is no trainer"
        return
    if life.train._static != night.models.static:
        yield f"the trainer learns on {life.train._static}, not on {night.models.static}"
    ends = trainer.static.manifest["offsets"]
    expected: list[tuple[str, int, int]] = []
    counted = Popularity(
        bucket_hours=DYNAMIC.popularity.bucket_hours, window_days=DYNAMIC.replay.window_days
    )
    for batch, fresh in unique_examples(night):
        rows = batch.take(fresh)
        strong = pad(rows.take(rows.strong), DYNAMIC.replay.whole_history, 0)
        counted.add(strong.target, strong.timestamp, strong.country)
        first = ends.get(rows.topic, {}).get(str(rows.partition), 0)
        learned = ~rows.repeat | hashed_share(rows.offset, DYNAMIC.loss.repeat_share)
        # What is held out is kept too, and is no repeat.
        offsets = rows.offset[learned & (rows.offset >= first)].tolist()
        expected += [(rows.topic, rows.partition, offset) for offset in offsets]
    found = [
        (*trainer.sources[source], offset)
        for memory in trainer.memories.values()
        for held in [memory.take(memory.numbers())]
        for source, offset in zip(held.source.tolist(), held.offset.tolist(), strict=True)
    ]
    if twice := sorted({one for one in found if found.count(one) > 1}):
        yield f"the trainer has taken twice: {twice}"
    if missing := sorted(set(expected) - set(found)):
        yield f"the trainer has skipped {missing}"
    if more := sorted(set(found) - set(expected)):
        yield f"the trainer has learned from {more}"
    end = 1 << 60
    if any(
        (one != other).any() if len(one) == len(other) else True
        for one, other in zip(
            counted.between(0, end), trainer.popularity.between(0, end), strict=True
        )
    ):
        yield f"the trainer has counted {trainer.popularity.events()}, not {counted.events()}"
    for part in range(night.log.partitions(TOPICS.examples)):
        end = night.log.end_offset(TOPICS.examples, part)
        if (life.train.position(TOPICS.examples, part) or 0) != end:
            yield f"the trainer has not read {TOPICS.examples}/{part} up to {end}"
