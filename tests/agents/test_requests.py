"""No request is lost, whatever happens to its worker; one bad user does not stop the others."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from agents import WorkerSettings
from agents.apps.embedded import EmbeddedRoles
from agents.training.examples_read import ExamplesRead
from agents.working.waiting import TouchedUsers
from dynamic_layer import ItemNames, Ranking
from state.run_files import DamagedState
from streams import Reason, Recommendation, Request, decode, encode
from streams.partitioner import murmur2_partition
from tests.agents.worlds import NOW, TOPICS, Bench, bench


class Serving:
    """A stand-in for a bundle: empty lists, except for users who make it raise."""

    def __init__(self, worker, *poison, lists=("mix", "new")):
        self.poison, self.lists, self.calls = set(poison), lists, []
        self.broken = False
        worker.models.recommender = SimpleNamespace(has_head=False)
        worker.models.recommend = self.recommend

    async def recommend(self, users, lists, now_ms, *, fewer=1):
        names = [user.user_id for user in users]
        self.calls.append(names)
        if self.broken or self.poison & set(names):
            raise ValueError("no list can be made")
        empty = Ranking(names=ItemNames(), rows=[], scores=np.zeros(0, np.float32))
        return 1, [dict.fromkeys(self.lists, empty) for _ in users]


class Group:
    """Reads requests for workers as the transport does: from what the group committed."""

    def __init__(self, b: Bench):
        self.b, self.committed = b, {}

    async def read(self, batch=100):
        for number in range(TOPICS.partitions):
            at = self.committed.get((TOPICS.requests, number), 0)
            while records := self.b.log.read(TOPICS.requests, number, at, batch):
                await self.b.worker.handle(records)
                at = records[-1].offset + 1

    async def commit(self):
        self.committed |= await self.b.worker.commit()

    async def restart(self, *poison):
        """Kill the worker and start another one from what is committed."""
        self.b.worker.close()
        self.b.worker = self.b.new_worker("w")
        await self.b.worker.assigned(self.b.keyed)
        await self.read()
        return Serving(self.b.worker, *poison)


def ask(b, *users, lists=None):
    for user in users:
        request = Request(user_id=user, lists=lists)
        b.log.append(TOPICS.requests, request.key, encode(request))


async def rounds(b, count=3):
    for _ in range(count):
        await b.worker.tick()


def answers(b):
    """Who was answered, by the place of the request: (topic, partition, offset, list)."""
    read = [decode(Recommendation, value) for value in b.records(TOPICS.recommendations)]
    return [(one.user_id, one.source.topic, one.source.offset, one.list) for one in read]


def users_of(b):
    return sorted({user for user, *_ in answers(b)})


async def test_requests_wait_for_the_first_bundle_and_for_their_partition(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        ask(b, "ann", "bob", "cid")
        await group.read()  # no partition is open yet, as during a rebalance
        await rounds(b)
        Serving(b.worker)
        await rounds(b)
        assert answers(b) == []
        await b.worker.assigned(b.keyed)
        b.worker.models.recommender = None
        await rounds(b)
        await group.commit()
        assert answers(b) == []
        assert all(at == 0 for (topic, _), at in group.committed.items()), "they are not answered"
        Serving(b.worker)
        await rounds(b)
        assert users_of(b) == ["ann", "bob", "cid"]
        await group.commit()
        total = sum(at for (topic, _), at in group.committed.items() if topic == TOPICS.requests)
        assert total == 3


async def test_requests_of_a_killed_worker_are_answered_by_the_next(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, "ann", "bob", "cid")
        await group.read()
        await group.commit()  # read, and not answered yet
        await group.restart()
        await rounds(b)
        assert users_of(b) == ["ann", "bob", "cid"]
        await group.commit()
        before = len(answers(b))
        await group.restart()
        await rounds(b)
        assert len(answers(b)) == before, "what is committed is not answered again"


async def test_an_answer_that_is_not_stored_does_not_move_the_position(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, "ann", "bob")
        await group.read()

        async def refused():
            raise OSError("the broker is gone")

        b.worker._outputs.flush = refused
        await rounds(b)
        with pytest.raises(OSError, match="gone"):
            await b.worker.commit()
        assert not any(topic == TOPICS.requests for topic, _ in b.worker.positions())
        # Sent before the flush failed; Kafka may have lost them.
        sent = len(answers(b))
        await group.restart()
        await rounds(b)
        assert len(answers(b)) == 2 * sent


async def test_an_answer_sent_during_the_flush_is_not_committed_by_it(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, "ann")
        await group.read()
        number = murmur2_partition(b"ann", TOPICS.partitions)

        async def slow():
            batch = b.worker._requests.take([number])
            await b.worker._requests.answer(batch)

        b.worker._outputs.flush = slow
        assert (await b.worker.commit()).get((TOPICS.requests, number), 0) == 0
        del b.worker._outputs.flush
        assert (await b.worker.commit())[TOPICS.requests, number] == 1


async def test_a_revoked_partition_says_where_the_next_worker_reads_on(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, *(f"user-{n}" for n in range(10)))
        await group.read()
        await rounds(b)
        group.committed |= (await b.worker.revoked(b.keyed)).positions
        assert sum(group.committed.values()) == 10
        assert not b.worker.positions(), "another worker's positions are its own"
        assert len(b.worker._requests) == 0


async def test_requests_are_answered_in_order_and_each_one(tmp_path):
    with bench(tmp_path, WorkerSettings(answer_users=3)) as b:
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, *["ann", "bob", "cid", "ann"] * 3)
        await Group(b).read()
        while await b.worker.tick():
            pass
        for number in range(TOPICS.partitions):
            ends = b.log.end_offset(TOPICS.requests, number)
            read = [
                decode(Recommendation, record.value).source.offset
                for record in b.log.read(TOPICS.recommendations, number, 0)
            ]
            assert read == sorted(read)
            assert set(read) == set(range(ends))


async def test_the_lists_that_are_named_are_written_and_unknown_ones_refused(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        ask(b, "ann", lists=["new"])
        ask(b, "bob", lists=["new", "nope"])
        ask(b, "cid", lists=["nope"])
        b.log.append(TOPICS.requests, b"dan", b"{")
        group = Group(b)
        await group.read()
        await rounds(b)
        assert sorted((user, name) for user, *_, name in answers(b)) == [
            ("ann", "new"),
            ("bob", "new"),
        ]
        letters = {letter.payload: letter for letter in b.letters()}
        assert sorted(letter.reason for letter in letters.values()) == [
            Reason.MALFORMED,
            Reason.UNKNOWN_LIST,
            Reason.UNKNOWN_LIST,
        ]
        [of_cid] = [letter for text, letter in letters.items() if "cid" in text]
        assert "mix, new" in of_cid.detail
        assert "nope" in of_cid.detail
        await group.commit()
        total = sum(at for (topic, _), at in group.committed.items() if topic == TOPICS.requests)
        assert total == 4


@pytest.mark.parametrize("users", [["bad"], ["ann", "bad", "bob", "cid", "dan"], ["bad", "worse"]])
async def test_a_user_whose_lists_cannot_be_made_gets_a_dead_letter_and_all_others_lists(
    tmp_path, users
):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        ask(b, *users)
        for _ in range(3):  # however often it starts again
            await group.read()
            serving = Serving(b.worker, "bad", "worse")
            await rounds(b)
            await group.restart("bad", "worse")
        await rounds(b)
        await group.commit()
        good = sorted(user for user in users if user not in ("bad", "worse"))
        assert users_of(b) == good
        letters = b.letters()
        assert {letter.reason for letter in letters} == {Reason.FAILED}
        assert {decode(Request, letter.payload.encode()).user_id for letter in letters} == (
            set(users) - set(good)
        )
        assert "ValueError: no list can be made" in letters[0].detail
        assert ["bad"] in serving.calls, "the user is tried alone"
        await group.restart()
        await rounds(b)
        assert len(b.letters()) == len(letters), "what is refused and committed is not read again"


async def test_a_user_whose_event_is_the_reason_gets_a_dead_letter_too(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        for user in ("ann", "bad", "bob"):
            b.listen(user, "a")
        Serving(b.worker, "bad")
        await b.drain()
        await rounds(b)
        assert users_of(b) == ["ann", "bob"]
        [letter] = b.letters()
        assert (letter.reason, letter.source.topic) == (Reason.FAILED, TOPICS.events)
        assert letter.payload == ""
        metric = "segue_answers_failed_total"
        assert b.worker.tally.registry.get_sample_value(metric) == 1
        await b.worker.commit()
        number = letter.source.partition
        assert b.worker.partitions.rewind(TOPICS.events, number) == 0, "not read again"


async def test_a_user_whose_state_cannot_be_read_is_refused_but_damage_ends_the_worker(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        Serving(b.worker)
        for state in b.worker.partitions.states.values():
            read = state.user

            def user(name, read=read):
                if name == "bad":
                    raise ValueError("birth_year")
                if name == "damaged":
                    raise DamagedState("a file is not whole")
                return read(name)

            state.user = user
        ask(b, "ann", "bad")
        await Group(b).read()
        await rounds(b)
        assert users_of(b) == ["ann"]
        assert [letter.reason for letter in b.letters()] == [Reason.FAILED]
        ask(b, "damaged")
        await Group(b).read()
        with pytest.raises(DamagedState):
            await rounds(b)


async def test_a_bundle_that_makes_lists_for_nobody_is_no_fault_of_the_users(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        serving = Serving(b.worker)
        serving.broken = True
        ask(b, "ann", "bob")
        await group.read()
        with pytest.raises(ValueError, match="no list"):
            await rounds(b)
        assert b.letters() == []
        await group.restart()
        await rounds(b)
        assert users_of(b) == ["ann", "bob"]


async def test_an_erased_user_who_waits_is_not_answered_and_holds_up_nobody(tmp_path):
    with bench(tmp_path) as b:
        group = Group(b)
        await b.worker.assigned(b.keyed)
        ask(b, "ann", "bob")
        await group.read()
        b.log.append(TOPICS.events, b"ann", None)
        await b.drain()
        Serving(b.worker)
        await rounds(b)
        lists = [decode(Recommendation, v) for v in b.records(TOPICS.recommendations) if v]
        assert {one.user_id for one in lists} == {"bob"}
        await group.commit()
        total = sum(at for (topic, _), at in group.committed.items() if topic == TOPICS.requests)
        assert total == 2


async def test_requests_beyond_the_limit_stay_in_the_log(tmp_path):
    with bench(tmp_path, WorkerSettings(waiting_requests=3)) as b:
        await b.worker.assigned(b.keyed)
        ask(b, "ann", "bob")
        await Group(b).read()
        assert not b.worker.holds(TOPICS.requests)
        ask(b, "cid")
        await Group(b).read(batch=1)
        assert b.worker.holds(TOPICS.requests)
        assert not b.worker.holds(TOPICS.events)
        Serving(b.worker)
        await rounds(b)
        assert not b.worker.holds(TOPICS.requests)


async def test_users_who_waited_while_nothing_was_served_are_not_shed(tmp_path):
    settings = WorkerSettings(answer_within_s=120)
    with bench(tmp_path, settings) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await b.drain()
        b.clock.ms += 600_000
        await b.worker.tick()  # there is no bundle
        Serving(b.worker)
        await b.worker.tick()
        assert users_of(b) == ["ann"]
        assert b.worker.tally.users_shed == 0
        # Under a bundle, who waits too long is shed.
        touched = TouchedUsers(
            topic=TOPICS.events, partition=0, user_id=["bob"], offset=[0], event_timestamp=[NOW]
        )
        b.worker._recommend.touch(touched)
        b.clock.ms += 121_000
        await b.worker.tick()
        assert (users_of(b), b.worker.tally.users_shed) == (["ann"], 1)


async def test_what_is_applied_is_counted_with_each_commit(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        b.log.append(TOPICS.events, b"ann", b"{")
        await b.drain()
        assert sum(counts["applied"] for counts in b.worker.counts().values()) == 0
        await b.worker.commit()
        number = murmur2_partition(b"ann", TOPICS.partitions)
        assert b.worker.counts()[number] == {"applied": 2, "refused": 1, "behind": 3}
        last = await b.worker.revoked(b.keyed)
        assert last.counts[number] == {"applied": 2, "refused": 1, "behind": 3}
        assert last.positions[TOPICS.events, number] == 3
        assert b.worker.counts() == {}


async def test_requests_in_the_embedded_log_survive_a_restart(tmp_path):
    with bench(tmp_path) as b:
        settings = WorkerSettings(commit_quiet_ms=0)
        b.settings = settings

        class NoTrainer:
            read = ExamplesRead()

            async def assigned(self): ...
            async def announced(self, records): ...
            async def demand(self, records): ...
            async def catalogue(self, records): ...
            async def examples_came(self, records): ...
            async def close(self): ...

            def position(self, topic, partition): ...
            def passed_over(self, topic, partition, offset): ...
            def begin_when(self, caught_up, catalogue_read): ...

            async def run(self, stopping):
                await stopping.wait()

        ask(b, "ann", "bob")
        for _ in range(2):
            b.worker = b.new_worker("w")
            async with EmbeddedRoles(b.log, TOPICS, b.worker, NoTrainer(), settings) as roles:
                while len(b.worker._requests) < 2 and not users_of(b):
                    roles.check()
                    await asyncio.sleep(0)
        assert answers(b) == []
        b.worker = b.new_worker("w")
        Serving(b.worker)
        async with EmbeddedRoles(b.log, TOPICS, b.worker, NoTrainer(), settings) as roles:
            while len(answers(b)) < 4:
                roles.check()
                await asyncio.sleep(0)
        places = range(TOPICS.partitions)
        committed = [b.log.committed(settings.group, TOPICS.requests, n) or 0 for n in places]
        assert sum(committed) == 2
        b.worker = b.new_worker("w")
