"""In the morning, states, receipts, letters, answers and what was learned are what the log says."""

import asyncio
import os
import re
from collections import Counter

import pytest

from streams.topics import TopicDefinition
from tests.simulated.loop import NightLoop, Stuck
from tests.simulated.run import SHORT, failing, run_night
from tests.simulated.transactions import NightLog, Transaction

#: Nights in `make test`, short ones; `make soak` runs 10,000 of other seeds.
NIGHTS = int(os.environ.get("NIGHTS", "200"))
#: Nights of one test: processes of `make test` share them file by file, so this only names them.
PART = 25


@pytest.mark.parametrize("first", range(0, NIGHTS, PART))
def test_in_the_morning_everything_is_what_the_log_says(first):
    assert list(failing(range(first, min(first + PART, NIGHTS)), SHORT)) == []


def test_a_seed_makes_the_same_night_again():
    """Files that RocksDB compacts in threads of its own are no part of the trace."""
    (one, _), (other, _) = run_night(7), run_night(7)
    assert one.written == other.written
    assert one.trace == other.trace
    assert len(one.written) > 50


def test_short_nights_have_every_kind_of_fault():
    found: Counter[str] = Counter()
    for seed in range(20):
        night, _ = run_night(seed, SHORT)
        what = [line.split("s  ", 1)[1].split(":")[0] for line in night.trace]
        found.update(re.sub(r"worker \d", "a worker", line) for line in what)
    kinds = {
        "a worker dies", "the trainer dies", "the console dies", "the store is back",
        "write-ahead log torn", "table damaged", "checkpoint torn", "disk of a worker lost",
        "disk of the trainer lost", "disk of the console lost", "the_clock_is_set_back",
        "partitions_move", "a_user_is_erased", "a_static_bundle_is_built", "a_bundle_is_pinned",
        "player is another topic now", "segue.impressions is another topic now",
        "a_canary_is_published", "a_canary_is_decided_on", "a_person_moves_the_canary",
        "a_worker_reads_rows", "the_store_changes", "transaction committed", "transaction aborted",
        "an_item_is_launched", "items_change", "a_policy_is_written", "a_policy_is_refused",
        "a_policy_is_undone", "a_worker_reads_again", "items_leave_while_lists_are_made",
    }  # fmt: skip
    assert kinds <= found.keys()


def test_an_aborted_transaction_hides_nothing_of_a_topic_created_again(tmp_path):
    """Once it hid the record that had its offset in the new topic, which readers had taken."""
    definition = TopicDefinition(name="player", partitions=1)
    log, aborted = NightLog(tmp_path, lambda: 0), Transaction(1)
    log.create_topic(definition)
    log.append_in(aborted, "player", b"user", b"gone with the topic")
    log.delete_topic("player")
    log.create_topic(definition)
    log.append("player", b"user", b"stays")
    log.append_in(aborted, "player", b"user", b"aborted")
    assert [record.value for record in log.read("player", 0, 0)] == [b"stays"]
    log.end(aborted, commit=False)
    assert [record.value for record in log.read("player", 0, 0)] == [b"stays"]
    log.close()


async def in_turn(loop: NightLoop, done: list[str], name: str) -> None:
    await loop.run_in_executor(None, done.append, f"{name} aside")
    done.append(name)


def test_a_loop_has_one_order_and_time_passes_at_once():
    clock, done = [0.0], []
    loop = NightLoop(lambda: round(clock[0] * 1000), lambda s: clock.__setitem__(0, clock[0] + s))

    async def work() -> None:
        await asyncio.gather(*(in_turn(loop, done, name) for name in "ab"))
        await asyncio.wait_for(asyncio.sleep(3_600), 7_200)

    loop.whole(work())
    assert done == ["a aside", "b aside", "a", "b"]
    assert clock[0] == pytest.approx(3_600, abs=0.01)
    with pytest.raises(Stuck):
        loop.whole(asyncio.Event().wait())
    loop.close()
