"""The checker of crash runs can fail: each thing that must not happen is reported when it does."""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from segue.roles import make_worker
from segue.settings import Settings
from state import Window
from streams import (
    DeadLetter,
    Event,
    EventRules,
    Reason,
    Recommendation,
    RecommendedItem,
    Record,
    Source,
    TopicSettings,
    encode,
)
from tests.crash import checker
from tests.crash.faults import FAULTS, draw_faults
from tests.crash.outcome import text_of
from tests.crash.replay import Collected, copies, replay
from tests.crash.run import Report
from tests.crash.world import Writer, crash_settings, make_world
from tests.state.dumps import Dump

TOPICS = TopicSettings(partitions=1)
NOW = 1_800_000_000_000


def listened(
    offset: int, user: str, item: str, topic: str = TOPICS.events, at: int = NOW
) -> Record:
    event = Event(user_id=user, item_id=item, item_type="podcast", kind="stream", timestamp=at)
    return Record(topic, 0, offset, NOW, event.key, encode(event))


def answer(user: str, offset: int, *items: str, at: int = NOW) -> Recommendation:
    return Recommendation(
        user_id=user,
        list="mix",
        items=[RecommendedItem(item_id=i, item_type="podcast", score=1.0) for i in items],
        generation=1,
        created_at=at,
        source=Source(topic=TOPICS.events, partition=0, offset=offset),
    )


LOG = [listened(0, "ann", "a"), listened(1, "bob", "b"), listened(2, "ann", "c")]
HEARD = checker.listening(LOG, EventRules(), (), Window())


def settings_for(folder: Path) -> Settings:
    settings = crash_settings(folder, "127.0.0.1:9")
    return dataclasses.replace(settings, topics=TOPICS)


def test_copies_on_disks_and_in_the_store_are_equal_to_a_replay(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    asyncio.run(_leave_a_copy(settings, LOG[:2], tmp_path / "disks" / "w"))

    again = asyncio.run(replay(settings, LOG, tmp_path / "scratch"))
    found, counts, broken = asyncio.run(
        copies(settings, [tmp_path / "disks" / "w"], LOG, tmp_path / "scratch")
    )

    assert len(found) == 2  # one on the disk, one checkpoint
    assert broken == []
    assert checker.state_differences(found, again.dumps) == []
    assert all(
        count == again.counts[0] == {"applied": 3, "refused": 0} for count in counts.values()
    )


async def _leave_a_copy(settings: Settings, records: Sequence[Record], disk: Path) -> None:
    """Have a worker apply records, checkpoint them and end."""
    own = dataclasses.replace(settings, data=str(disk), artifacts=str(settings.artifacts))
    worker = make_worker(own, "w", Collected())
    await worker.assigned([(TOPICS.events, 0)])
    await worker.handle(records)
    await worker.revoked([(TOPICS.events, 0)])
    await worker.uploaded()


def test_one_changed_count_is_a_difference() -> None:
    mine = Dump(watermark=3, histories={}, pairs={(3, 1, 2): 5}, users={}, catalogue={})
    theirs = dataclasses.replace(mine, pairs={(3, 1, 2): 6})

    [line] = checker.state_differences({"a copy": (0, mine)}, {0: theirs})

    assert "a copy" in line
    assert "5 and 6" in line
    assert checker.state_differences({"a copy": (0, mine)}, {0: mine}) == []


def test_a_count_of_demand_that_was_not_told_is_a_difference() -> None:
    empty = Dump(watermark=3, histories={}, pairs={}, users={}, catalogue={})
    log = [dataclasses.replace(empty, demand=counts) for counts in ({(7, 1): 2}, {(7, 1): 1})]

    assert checker.demand_differences({(7, 1): 3}, log, 7) == []
    assert "2 told, 3" in checker.demand_differences({(7, 1): 2}, log, 7)[0]
    assert len(checker.demand_differences({(7, 2): 1}, log, 7)) == 2
    assert checker.demand_differences({(6, 2): 1, (7, 1): 3}, log, 7) == [], "out of the window"


def test_a_dead_letter_that_is_missing_or_too_many_or_another_is_a_difference() -> None:
    def letter(offset: int, reason: Reason) -> tuple[bytes, bytes]:
        found = DeadLetter(
            reason=reason, detail="", payload="", encoding="utf-8", payload_bytes=0,
            source=Source(topic=TOPICS.events, partition=0, offset=offset),
        )  # fmt: skip
        return found.key, encode(found)

    def written(*letters: tuple[bytes, bytes]) -> list[Record]:
        return [Record(TOPICS.dead_letters, 0, n, NOW, *kv) for n, kv in enumerate(letters)]

    one, two = letter(4, Reason.MALFORMED), letter(5, Reason.FUTURE)
    assert checker.dead_letter_differences(written(one, two, one), [one, two]) == []
    assert len(checker.dead_letter_differences(written(one), [one, two])) == 1
    assert len(checker.dead_letter_differences(written(one, two), [one])) == 1
    assert checker.dead_letter_differences(written(letter(4, Reason.FUTURE)), [one])


def test_an_answer_older_than_the_latest_event_is_reported() -> None:
    up_to_date = [answer("ann", 2), answer("bob", 1)]

    assert checker.unanswered(HEARD, up_to_date, {0: 0}) == []
    assert len(checker.unanswered(HEARD, [answer("ann", 0), answer("bob", 1)], {0: 0})) == 1
    assert len(checker.unanswered(HEARD, [answer("ann", 2)], {0: 0})) == 1
    # Bob's event came before the last fault: not asked for.
    assert checker.unanswered(HEARD, [answer("ann", 2)], {0: 2}) == []


def test_an_item_that_the_user_had_is_reported_and_one_that_comes_later_is_not() -> None:
    assert checker.consumed_items(HEARD, [answer("ann", 0, "c", "b")], TOPICS) == []
    [line] = checker.consumed_items(HEARD, [answer("ann", 2, "b", "c")], TOPICS)
    assert "podcast c" in line


def test_refused_events_are_no_history() -> None:
    heard = checker.listening(LOG, EventRules(), [(TOPICS.events, 0, 2)], Window())
    assert heard.latest["ann"] == (TOPICS.events, 0, 0)
    assert checker.consumed_items(heard, [answer("ann", 2, "c")], TOPICS) == []


def test_repeats_are_dropped_by_their_key() -> None:
    first, again = answer("ann", 2, "x", "y"), answer("ann", 2, "x", "y", at=NOW + 1)
    otherwise = answer("ann", 2, "y", "x", at=NOW + 1)
    at_once = answer("ann", 2, "y", "x")

    found = checker.repeats([first, again, answer("ann", 3, "x")])
    assert (found.answers, found.repeated, found.differing) == (3, 1, 0)
    found = checker.repeats([first, otherwise])
    assert (found.repeated, found.differing, found.differing_at_once) == (1, 1, [])
    assert checker.repeats([first, at_once]).differing_at_once


def test_a_seed_draws_the_same_faults_and_every_kind_comes_before_any_comes_twice() -> None:
    names = [fault.name for fault in draw_faults(7, 30, FAULTS)]
    assert names == [fault.name for fault in draw_faults(7, 30, FAULTS)]
    assert names != [fault.name for fault in draw_faults(8, 30, FAULTS)]
    assert set(names[: len(FAULTS)]) == {fault.name for fault in FAULTS}


def test_the_report_ends_with_equal_or_with_the_differences() -> None:
    report = Report(seed=7, faults=["1 kill"])
    assert text_of(report).splitlines()[-1] == "equal"
    report.differences.append("pairs[...]: 5 and 6")
    assert text_of(report).splitlines()[-1] == "pairs[...]: 5 and 6"
    assert "equal" not in text_of(report)


def test_a_writer_writes_the_same_events_for_a_seed(tmp_path: Path) -> None:
    def some(seed: int) -> list[tuple[str, str, str]]:
        writer = Writer(settings_for(tmp_path), make_world(1), seed)
        records = [writer.next_record() for _ in range(300)]
        good = [v for t, _, v in records if t == TOPICS.events and b'"comment"' not in v]
        return [(e["user_id"], e["item_id"], e["kind"]) for e in map(_decoded, good) if e]

    assert some(3) == some(3)
    assert some(3) != some(4)
    assert len(some(3)) > 200


def _decoded(value: bytes) -> dict[str, str] | None:
    try:
        event = json.loads(value)
    except ValueError:
        return None
    return event if {"user_id", "item_id", "kind"} <= event.keys() else None


def test_what_the_window_has_left_may_be_recommended_again() -> None:
    long_ago = NOW - 91 * 86_400_000
    log = [listened(0, "ann", "old", at=long_ago), listened(1, "bob", "b")]
    heard = checker.listening(log, EventRules(), (), Window())
    assert not checker.consumed_items(heard, [answer("ann", 0, "old")], TOPICS)
    assert checker.consumed_items(heard, [answer("bob", 1, "b")], TOPICS)
    assert heard.latest["ann"] == (TOPICS.events, 0, 0)
