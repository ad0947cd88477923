"""What a worker does when a user is erased, on the embedded log."""

import asyncio

import numpy as np
import pytest

from agents import WorkerSettings
from agents.apps.replay import Replay
from dynamic_layer import ExampleBatch, ItemNames, Ranking
from state import item_key
from streams import (
    Event,
    EventRules,
    Reason,
    Receipt,
    Recommendation,
    Source,
    User,
    decode,
    encode,
    user_sha256,
)
from streams.partitioner import murmur2_partition
from tests.agents.definition import files_with
from tests.agents.worlds import NOW, TOPICS, answer_by, bench
from tests.state.dumps import dump

#: How a receipt names the files from which the next checkpoint removes the user.
FILES = "workers: files of the partition's state, until its next checkpoint"


def erase(b, user: str) -> Source:
    partition, offset = b.log.append(TOPICS.events, user.encode(), None)
    return Source(topic=TOPICS.events, partition=partition, offset=offset)


def partition_of(user: str) -> int:
    return murmur2_partition(user.encode(), TOPICS.partitions)


def receipts(b) -> list[Receipt]:
    return [decode(Receipt, value) for value in b.records(TOPICS.receipts)]


def answers(b) -> list[Recommendation]:
    """Lists that were written, without the null values that withdraw some."""
    return [decode(Recommendation, value) for value in b.records(TOPICS.recommendations) if value]


class SlowModels:
    """Makes one list for each user, when it is told to."""

    recommender = static_generation = object()

    def __init__(self) -> None:
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def recommend(self, users, lists, now_ms, *, fewer):
        self.asked.set()
        await self.go_on.wait()
        ranking = Ranking(
            names=ItemNames(ids=["a"], types=["podcast"]), rows=[0], scores=np.ones(1)
        )
        return 1, [{"mix": ranking} for _ in users]


async def serving(b) -> None:
    """Have the bench's worker answer with one list for each user, at once."""
    await b.worker.assigned(b.keyed)
    models = SlowModels()
    models.go_on.set()
    answer_by(b.worker, models)


async def test_an_erased_user_is_in_no_state_and_a_receipt_says_so(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.log.append(TOPICS.users, b"ann", encode(User(user_id="ann", country="SE")))
        b.listen("ann", "a", "b")
        b.listen("bob", "a", "c")
        await b.drain()
        await b.worker.commit()
        source = erase(b, "ann")
        await b.drain()

        state = b.worker.partitions[source.partition]
        assert state.committed[TOPICS.events] == source.offset + 1, "not committed at once"
        assert (len(state.history("ann")), state.user("ann")) == (0, {})
        found = {n: dump(s) for n, s in b.worker.partitions.states.items()}
        assert [user for d in found.values() for user in d.histories] == ["bob"]
        pairs = {pair[1:] for d in found.values() for pair in d.pairs}
        a, c = sorted(item_key("podcast", item) for item in "ac")
        assert pairs == {(a, a), (c, c), (a, c)}

        [receipt] = receipts(b)
        assert receipt.source == source
        assert receipt.position == source.offset + 1
        assert receipt.held
        assert receipt.checkpoints == []
        assert receipt.user_sha256 == user_sha256(source, "ann")
        assert b"ann" not in encode(receipt)
        withdrawn = b.log.read(TOPICS.recommendations, source.partition, 0)
        assert [(r.key, r.value) for r in withdrawn] == [(b"ann", None)]
        assert b.letters() == []
        assert b.worker.tally.records == b.worker.tally.applied == 5


async def test_a_name_that_nobody_has_gets_a_receipt_too(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        erase(b, "nobody")
        await b.drain()
        assert [receipt.held for receipt in receipts(b)] == [False]


async def test_lists_that_are_being_made_for_an_erased_user_are_not_written(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        models = SlowModels()
        answer_by(b.worker, models)
        b.listen("ann", "a")
        b.listen("bob", "a")
        await b.drain()
        making = asyncio.ensure_future(b.worker.tick())
        await models.asked.wait()
        erase(b, "ann")
        await b.drain()
        models.go_on.set()
        await making
        b.clock.ms += 1_000
        await b.worker.tick()
        written = [
            record
            for number in range(TOPICS.partitions)
            for record in b.log.read(TOPICS.recommendations, number, 0)
        ]
        assert [r.value for r in written if r.key == b"ann"] == [None]
        lists = [decode(Recommendation, r.value) for r in written if r.value is not None]
        assert [answer.user_id for answer in lists] == ["bob"]


async def test_a_user_who_waits_is_answered_only_for_what_came_after(tmp_path):
    with bench(tmp_path) as b:
        await serving(b)
        b.listen("ann", "a")
        b.listen("bob", "a")
        source = erase(b, "ann")
        erase(b, "bob")
        b.listen("ann", "b")
        await b.drain()
        await b.worker.tick()
        lists = answers(b)
        assert [answer.user_id for answer in lists] == ["ann"]
        assert lists[0].source.offset > source.offset


async def test_records_that_are_read_again_answer_no_erased_user(tmp_path):
    with bench(tmp_path) as b:
        await serving(b)
        b.listen("ann", "a")
        b.listen("bob", "a")
        source = erase(b, "ann")
        await b.drain()
        again = b.log.read(TOPICS.events, source.partition, 0)
        for batch in (again, *([record] for record in again)):
            await b.worker.handle(batch)
        await b.worker.tick()
        lists = answers(b)
        assert {answer.user_id for answer in lists} == {"bob"}
        assert len(receipts(b)) == 1


async def test_older_checkpoints_are_named_and_gone_when_the_receipt_says(tmp_path):
    """Even when nothing happens any more: an unchanged state is checkpointed to push them out."""
    with bench(tmp_path, WorkerSettings(keep_checkpoints=2, checkpoint_every_s=60)) as b:
        await b.worker.assigned(b.keyed)
        for item in "abc":
            b.listen("ann", item)
            await b.drain()
            b.clock.ms += 1
            await b.worker.checkpoint()
        source = erase(b, "ann")
        await b.drain()
        checkpoints = b.worker.partitions._checkpoints
        [receipt] = receipts(b)
        assert [c.name for c in receipt.checkpoints] == checkpoints.names(source.partition)
        assert [c.pruned_by - b.clock.ms for c in receipt.checkpoints] == [60_000, 120_000]

        for nth in (1, 2):
            b.clock.ms += 60_000
            await b.worker.checkpoint()
            left = set(checkpoints.names(source.partition))
            assert [c.name in left for c in receipt.checkpoints] == [nth < 1, nth < 2]
        assert await b.worker.checkpoint() == [], "nothing is left to push out"


async def test_the_next_checkpoint_does_not_hold_the_users_bytes(tmp_path):
    user = "erin-5d41402abc4b2a76"
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        checkpoints = b.worker.partitions._checkpoints
        states = b.worker.partitions._folder

        async def files_with_the_user() -> int:
            """Of the newest checkpoint."""
            await b.worker.checkpoint()
            folder = b.folder / "artifacts" / "checkpoints" / f"{partition:05d}" / "files"
            manifest = checkpoints.manifest(partition, checkpoints.names(partition)[-1])
            return sum(
                user.encode() in (folder / file["sha256"]).read_bytes()
                for file in manifest.files.values()
            )

        b.listen(user, "a", "b")
        b.listen("bob", "a")
        await b.drain()
        [partition] = [n for n, s in b.worker.partitions.states.items() if len(s.history(user))]
        assert await files_with_the_user() > 0
        erase(b, user)
        await b.drain()
        [receipt] = receipts(b)
        assert files_with(states, user), "the receipt need not name the files of the state"
        assert FILES in {copy.place for copy in receipt.copies}
        b.clock.ms += 1
        assert await files_with_the_user() == 0
        assert files_with(states, user) == []


async def test_a_partition_is_checkpointed_again_while_files_of_an_erased_user_stay(tmp_path):
    with bench(tmp_path, WorkerSettings(keep_checkpoints=1)) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await b.drain()
        partition = erase(b, "ann").partition
        await b.drain()
        state = b.worker.partitions[partition]
        left = state.folder / "MANIFEST-000001"
        left.write_bytes(b"ann")
        assert len(await b.worker.checkpoint()) == 1
        assert state.uncompacted
        left.unlink(missing_ok=True)  # the checkpoint has RocksDB look for such files
        assert len(await b.worker.checkpoint()) == 1
        assert not state.uncompacted
        assert await b.worker.checkpoint() == []


async def test_a_restarted_worker_goes_on_pushing_out_older_checkpoints(tmp_path):
    with bench(tmp_path, WorkerSettings(keep_checkpoints=1)) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await b.drain()
        await b.worker.checkpoint()
        source = erase(b, "ann")
        await b.drain()
        b.worker.close()  # like a crash, between the commit and the next checkpoint

        b.worker = b.new_worker("w")
        await b.worker.assigned(b.keyed)
        assert b.worker.partitions.holds_erased(source.partition)
        b.clock.ms += 1
        await b.worker.checkpoint()
        assert not b.worker.partitions.holds_erased(source.partition)


async def test_a_rebuilt_state_writes_the_same_receipt_again(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        erase(b, "ann")
        b.listen("ann", "c")
        await b.drain()
        other = b.new_worker("an empty disk")
        await other.assigned(b.keyed)
        await b.drain(other, batch=1)
        first, again = receipts(b)
        assert first.key == again.key
        assert first.user_sha256 == again.user_sha256
        for number, state in b.worker.partitions.states.items():
            assert dump(state).differences(dump(other.partitions[number])) == []
        other.close()


async def test_a_replay_gives_the_state_of_the_worker_and_writes_nothing(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.log.append(TOPICS.users, b"ann", encode(User(user_id="ann", country="SE")))
        b.clock.ms += 1
        b.listen("ann", "a", "b")
        b.log.append(TOPICS.users, b"ann", None)
        source = erase(b, "ann")
        b.clock.ms += 1
        b.log.append(TOPICS.users, b"ann", encode(User(user_id="ann", country="FI")))
        b.listen("ann", "b", "c")
        await b.drain()
        live = b.worker.partitions[source.partition]
        # The topics in the other order than the worker read them.
        for number, order in enumerate(
            [(TOPICS.users, TOPICS.events), (TOPICS.events, TOPICS.users)]
        ):
            replay = Replay(
                tmp_path / f"replay-{number}", source.partition, settings=b.settings,
                state=live.settings, topics=TOPICS, rules=EventRules(),
            )  # fmt: skip
            for topic in order:
                await replay.handle(b.log.read(topic, source.partition, 0))
            replay.finish()
            assert replay.state.user("ann")["country"] == "FI"
            assert dump(live).differences(dump(replay.state)) == []
            replay.close()
        assert len(receipts(b)) == 1


async def test_examples_around_an_erasure_are_the_same_whatever_the_batches(tmp_path):
    with bench(tmp_path) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        for user in ("ann", "bob", "ann", "bob"):
            b.listen(user, "a", "b")
            b.clock.ms += 1_000
        erase(b, "ann")
        b.listen("bob", "c")
        b.listen("ann", "c", "a")
        await b.drain()
        at_once = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        other = b.new_worker("replay")
        other.models.static_generation = 1
        await other.assigned(b.keyed)
        await b.drain(other, batch=1)
        singly = [ExampleBatch.unpack(v) for v in b.records(TOPICS.examples)][len(at_once) :]
        other.close()

    def histories(batches):
        return {
            (x.partition, int(x.offset[row])): (
                int(x.target[row]),
                bool(x.repeat[row]),
                x.history_item[x.indptr[row] : x.indptr[row + 1]].tolist(),
            )
            for x in batches
            for row in range(len(x))
        }

    assert histories(at_once) == histories(singly)
    c, a = item_key("podcast", "c"), item_key("podcast", "a")
    new = [found for found in histories(at_once).values() if found[2] in ([], [c])]
    assert (c, False, []) in new
    assert (a, False, [c]) in new
    assert b.clock.ms == NOW + 4_000


@pytest.mark.parametrize("batch", [1, 100])
async def test_an_event_too_old_behind_an_erasure_is_named_by_its_own_place(tmp_path, batch):
    """The rows of a batch are counted on behind each erasure in it."""
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        places = []
        b.listen("ann", "a", "b")
        # A letter of an erased user's own event is not written; this user is not erased.
        beside = next(u for u in "bcdefgh" if partition_of(u) == partition_of("ann"))
        for item in ("old-1", "old-2"):
            erase(b, "ann")
            b.listen("ann", "c")
            old = Event(
                user_id=beside, item_id=item, item_type="podcast", kind="stream",
                timestamp=NOW // 2,
            )  # fmt: skip
            partition, offset = b.log.append(TOPICS.events, old.key, encode(old))
            places.append((item, partition, offset))
        await b.drain(batch=batch)
        letters = b.letters()
        assert [letter.reason for letter in letters] == [Reason.TOO_OLD, Reason.TOO_OLD]
        found = [(x.source.partition, x.source.offset) for x in letters]
        assert found == [(partition, offset) for _, partition, offset in places]
        for letter, (item, _, _) in zip(letters, places, strict=True):
            assert item in letter.payload
