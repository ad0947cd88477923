"""A state knows which topics it was made from: another one of the same name is not read."""

import asyncio
import json
import threading
from unittest.mock import Mock

import pytest

from agents import Train, TrainerSettings, WorkerSettings
from agents.apps.embedded import EmbeddedRoles
from agents.erased import ErasedUsers
from agents.outputs import EmbeddedOutputs
from agents.working.partitions import user_state
from dynamic_layer import DynamicSettings, ExampleBatch
from state import (
    ArtifactStore,
    Checkpoints,
    MadeFrom,
    StateSettings,
    StoreUnavailable,
    merge_checkpoints,
)
from state.database import META
from state.manifest import manifest_digest
from streams import (
    EmbeddedLog,
    LogChanged,
    TopicIdentity,
    User,
    create_topics,
    delete_topics,
    encode,
    murmur2_partition,
    topic_identities,
    topics,
)
from streams.event_batch import Erasure
from tests.agents.worlds import TOPICS, bench
from tests.waiting import PATIENCE_S


def now(b):
    return topic_identities(b.log, b.worker.topics)


def roles(b):
    train = Train(
        settings=TrainerSettings(),
        dynamic=DynamicSettings(),
        topics=TOPICS,
        store=ArtifactStore(str(b.folder / "artifacts")),
        folder=b.folder / "trainer",
        outputs=EmbeddedOutputs(b.log),
        clock_ms=b.clock,
    )
    return EmbeddedRoles(b.log, TOPICS, b.worker, train, WorkerSettings())


async def applied(b, records, log=None):
    """A worker that has applied so many events of ann's, closed; another one with its disk."""
    await b.worker.assigned(b.keyed, log)
    b.listen("ann", *(f"old{n}" for n in range(records)))
    await b.drain()
    await b.worker.commit()
    await b.worker.checkpoint()
    restarted(b)


def restarted(b):
    b.worker.close()
    b.worker = b.new_worker("w")


def recreate(b, records):
    """The events topic deleted and created again, with more records than before."""
    delete_topics(b.log, [TOPICS.events])
    create_topics(b.log, topics(TOPICS))
    b.listen("ann", *(f"new{n}" for n in range(records)))


async def test_a_topic_that_was_created_again_is_refused_however_long_it_is(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        recreate(b, 50)
        with pytest.raises(LogChanged, match=r"another topic of this name.*--begin-again"):
            async with roles(b):
                pass


async def check(b, log):
    async def ask():
        return log

    await b.worker.check_log(ask)


async def test_a_running_worker_notices_too(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        await b.worker.assigned(b.keyed, now(b))
        await check(b, now(b))
        recreate(b, 50)
        with pytest.raises(LogChanged, match="another topic of this name"):
            await check(b, now(b))


async def test_a_topic_that_is_another_one_before_a_record_of_it_is_read_is_no_other_log(tmp_path):
    """The state is made from the new topic alone."""
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed, now(b))
        recreate(b, 5)
        await check(b, now(b))
        await b.drain()
        await b.worker.commit()
        await check(b, now(b))
        restarted(b)
        await b.worker.assigned(b.keyed, now(b))
        assert max(s.position(TOPICS.events) or 0 for s in b.worker.partitions.states.values()) == 5


async def test_an_erasure_covers_nothing_of_a_topic_that_is_created_again(tmp_path):
    """Also while the worker goes on, for it had read nothing of the topic before."""
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed, now(b))
        b.worker._erased.log = b.log  # it knows the topics' ids
        await b.worker._erased.read()
        for part in range(TOPICS.partitions):
            erasure = Erasure(user_id="ann", offset=3, logged_at=5, count_from={})
            b.worker._erased.note(TOPICS.events, part, erasure)
        recreate(b, 5)
        await check(b, now(b))
        await b.drain()
        states = b.worker.partitions.states.values()
        assert sum(len(user_state(state, "ann").history_item) for state in states) == 5


async def test_an_erasure_names_the_topic_that_it_lies_in(tmp_path):
    """Its place covers nothing of a topic that is created again under this name."""
    with bench(tmp_path) as b:
        erased = ErasedUsers(TOPICS, b.log)
        await erased.read()
        erased.note(TOPICS.events, 0, Erasure(user_id="ann", offset=3, logged_at=5, count_from={}))
        [erasure] = erased.of("ann").erasures
        assert erasure.topic_ids == {TOPICS.events: b.log.topic_id(TOPICS.events)}


async def test_a_beginning_that_the_store_interrupts_leaves_no_closed_state_behind(
    tmp_path, monkeypatch
):
    """Closing the worker then does not hide why it ends."""
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        recreate(b, 50)
        unreachable = StoreUnavailable("the store is away")
        monkeypatch.setattr(Checkpoints, "put_aside", Mock(side_effect=unreachable))
        with pytest.raises(StoreUnavailable):
            await b.worker.assigned(b.keyed, now(b), begin_again=True)
        b.worker.close()


async def test_a_state_of_a_version_that_noted_no_ids_adopts_those_of_now(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20)  # as a worker that knows of no ids
        await b.worker.assigned(b.keyed, now(b))
        restarted(b)  # without a record or a commit in between
        [state] = [s for s in await opened(b) if s.position(TOPICS.events)]
        identity = now(b)[TOPICS.events]
        assert state.made_from(TOPICS.events) == MadeFrom(id=identity.id, partitions=2)
        recreate(b, 50)
        with pytest.raises(LogChanged):
            await check(b, now(b))


async def opened(b):
    await b.worker.assigned(b.keyed)
    return list(b.worker.partitions.states.values())


async def test_beginning_again_makes_the_state_of_the_new_topic_and_keeps_the_old_one(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        recreate(b, 50)
        await b.worker.assigned(b.keyed, now(b), begin_again=True)
        await b.drain()
        await b.worker.commit()
        await b.worker.checkpoint()
        [state] = [s for s in b.worker.partitions.states.values() if s.position(TOPICS.events)]
        assert (state.position(TOPICS.events), len(state.history("ann").time)) == (50, 50)
        assert (state.folder.parent / f"{state.partition:05d}.other-log").is_dir()
        # The files of the old checkpoints are removed with a new one, so their manifests are too.
        store = ArtifactStore(str(tmp_path / "artifacts"))
        left = store.listing(f"checkpoints/{state.partition:05d}")
        assert [name for name in left if name.endswith(".other-log")] == []
        # A checkpoint of the old topic is further, and is not restored all the same.
        elsewhere = b.new_worker("elsewhere")
        await elsewhere.assigned(b.keyed, now(b))
        assert elsewhere.partitions[state.partition].position(TOPICS.events) == 50
        elsewhere.close()
        # The partition whose state was made from nothing of the old topic is as it was.
        assert len(Checkpoints(ArtifactStore(str(tmp_path / "artifacts"))).names(0)) <= 1


async def test_a_check_waits_for_a_beginning_that_is_under_way(tmp_path, monkeypatch):
    """States of the old topic are open for a moment then; the check must not find them."""
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        recreate(b, 50)
        opened, go_on = asyncio.Event(), threading.Event()
        loop, begin_again = asyncio.get_running_loop(), b.worker.partitions.begin_again

        def slow(log):
            loop.call_soon_threadsafe(opened.set)
            assert go_on.wait(PATIENCE_S)
            begin_again(log)

        monkeypatch.setattr(b.worker.partitions, "begin_again", slow)
        async with asyncio.TaskGroup() as both:
            both.create_task(b.worker.assigned(b.keyed, now(b), begin_again=True))
            await opened.wait()
            checking = both.create_task(check(b, now(b)))
            await asyncio.wait({checking}, timeout=0.05)  # it would have failed by now
            go_on.set()


async def test_an_answer_from_before_an_assignment_is_not_compared_with_its_states(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        old = now(b)
        recreate(b, 50)

        async def answered_before():
            await b.worker.assigned(b.keyed, now(b), begin_again=True)
            await b.drain()
            return old

        await b.worker.check_log(answered_before)
        with pytest.raises(LogChanged):
            await check(b, old)


async def test_added_partitions_are_refused_at_start_and_while_running(tmp_path):
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        grown = now(b)
        old = grown[TOPICS.events]
        grown[TOPICS.events] = TopicIdentity(topic=old.topic, id=old.id, partitions=4)
        with pytest.raises(LogChanged, match=r"4 partitions.*segue topics grow --partitions 4"):
            await b.worker.assigned(b.keyed, grown)
        restarted(b)
        await b.worker.assigned(b.keyed, now(b))
        with pytest.raises(LogChanged, match="segue topics grow --partitions 4"):
            await check(b, grown)


async def test_a_state_made_before_partitions_were_added_is_refused_under_the_new_setting(tmp_path):
    """Somebody has changed the setting too, and the users are still in their old partitions."""
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        [state] = [s for s in await opened(b) if s.position(TOPICS.events)]
        identity = now(b)[TOPICS.events]
        grown = TopicIdentity(topic=identity.topic, id=identity.id, partitions=4)
        with pytest.raises(LogChanged, match="2 partitions, and it has 4 now"):
            b.worker.partitions.note_log({TOPICS.events: grown})
        assert state.made_from(TOPICS.events).partitions == 2


async def test_a_foreign_source_with_other_partitions_is_refused_with_its_own_ways_out(tmp_path):
    with bench(tmp_path) as b:
        plays = TopicIdentity(topic="plays", id="x", partitions=4)
        with pytest.raises(LogChanged, match=r"segue rekey.*--partitions 4"):
            await check(b, {"plays": plays})


def test_topics_of_the_embedded_log_have_ids_that_last_as_long_as_they_do(tmp_path):
    definitions = topics(TOPICS)
    with EmbeddedLog(tmp_path) as log:
        create_topics(log, definitions)
        before = topic_identities(log, [TOPICS.events, TOPICS.users, "nothing"])
    assert before.keys() == {TOPICS.events, TOPICS.users}
    assert before[TOPICS.events].id != before[TOPICS.users].id
    # A log of a version without ids is given them when it is opened.
    described = tmp_path / TOPICS.users / "topic.json"
    kept = json.loads(described.read_text())
    del kept["id"]
    described.write_text(json.dumps(kept))
    with EmbeddedLog(tmp_path) as log:
        opened = topic_identities(log, [TOPICS.events, TOPICS.users])
    with EmbeddedLog(tmp_path) as log:
        after = topic_identities(log, [TOPICS.events, TOPICS.users])
        delete_topics(log, [TOPICS.events])
        create_topics(log, definitions)
        again = topic_identities(log, [TOPICS.events])
    assert opened[TOPICS.events] == after[TOPICS.events] == before[TOPICS.events]
    assert opened[TOPICS.users] == after[TOPICS.users]
    assert opened[TOPICS.users].id
    assert again[TOPICS.events].id != before[TOPICS.events].id


async def test_a_source_that_only_has_more_partitions_is_not_read_from_its_beginning(tmp_path):
    """Its users are parted, whatever else is made again; beginning again would hide that."""
    with bench(tmp_path) as b:
        await applied(b, 20, now(b))
        recreate(b, 50)
        await b.worker.assigned(b.keyed)
        [state] = [s for s in b.worker.partitions.states.values() if s.position(TOPICS.events)]
        plays = TopicIdentity(topic="plays", id="x", partitions=2)
        state.set_made_from("plays", MadeFrom(id="x", partitions=2))
        state.pass_empty("plays", 0, 7)
        grown = TopicIdentity(topic="plays", id="x", partitions=4)
        found = now(b) | {"plays": grown}
        with pytest.raises(LogChanged, match=r"plays/\d was made while the topic had 2 partitions"):
            b.worker.partitions.begin_again(found)
        b.worker.partitions.begin_again(now(b) | {"plays": plays})
        assert b.worker.partitions[state.partition].position(TOPICS.events) is None


def example_topics(b):
    """The topics that the examples of the log so far name, in order."""
    return [ExampleBatch.unpack(value).topic for value in b.records(TOPICS.examples)]


async def begun_again(b):
    """A worker that reads the new topic from its beginning, with examples of it in the log."""
    await applied(b, 20, now(b))
    recreate(b, 5)
    b.worker.models.static_generation = 1  # examples are made once there is a graph
    await b.worker.assigned(b.keyed, now(b), begin_again=True)
    await b.drain()
    return f"{TOPICS.events}@{now(b)[TOPICS.events].id}"


async def again_elsewhere(b, name):
    """Another disk, on which examples are made once more."""
    b.worker.close()
    b.worker = b.new_worker(name)
    b.worker.models.static_generation = 1
    await b.worker.assigned(b.keyed, now(b))
    before = len(example_topics(b))
    b.listen("ann", "later")
    await b.drain()
    return set(example_topics(b)[before:])


async def test_examples_of_a_topic_that_was_created_again_are_those_of_another_topic(tmp_path):
    """The trainer knows the offsets of the earlier topic: it took these for repeats, unseen."""
    with bench(tmp_path) as b:
        renamed = await begun_again(b)
        assert example_topics(b) == [renamed]
        await b.worker.commit()
        await b.worker.checkpoint()
        assert await again_elsewhere(b, "restored") == {renamed}
        offsets = merge_checkpoints(
            Checkpoints(ArtifactStore(str(tmp_path / "artifacts"))), StateSettings()
        ).offsets
        assert renamed in offsets
        # An event is trained on where it is later than the graph, which names the same topic.
        b.worker.models._graph_ends = {TOPICS.events: {0: 1_000, 1: 1_000}}
        [(part, end)] = offsets[renamed].items()
        assert b.worker.models.learns_from(renamed, part, end)


async def test_a_worker_that_ends_before_its_first_checkpoint_is_followed_by_one_that_knows(
    tmp_path,
):
    """Also of the topics that were not created again: they go by their names."""
    with bench(tmp_path) as b:
        for number in range(20):
            user = User(user_id=f"u{number}")
            b.log.append(TOPICS.users, user.key, encode(user))
        renamed = await begun_again(b)
        read_again = {TOPICS.events: True, TOPICS.catalogue: False, TOPICS.users: False}
        assert made_again(b) == read_again
        assert await again_elsewhere(b, "other disk") == {renamed}
        assert made_again(b) == read_again
        assert await again_elsewhere(b, "w") == {renamed}
        assert made_again(b) == read_again
        await b.worker.commit()
        restarted(b)
        await b.worker.assigned(b.keyed, now(b))
        assert made_again(b) == read_again


async def test_a_state_of_which_nothing_else_is_known_may_have_read_every_topic(tmp_path):
    """Manifests of earlier versions name no topics."""
    with bench(tmp_path) as b:
        renamed = await begun_again(b)
        for path in (tmp_path / "artifacts").rglob("*.json.other-log"):
            manifest = json.loads(path.read_bytes())
            assert manifest.pop("made_from")
            manifest["digest"] = manifest_digest(json.dumps(manifest).encode())
            path.write_text(json.dumps(manifest))
        assert await again_elsewhere(b, "other disk") == {renamed}
        assert set(made_again(b).values()) == {True}


async def test_an_earlier_version_that_commits_leaves_what_was_read_again(tmp_path):
    """It writes the commit record without what it does not know."""
    with bench(tmp_path) as b:
        renamed = await begun_again(b)
        before = made_again(b)
        await b.worker.commit()
        number = murmur2_partition(b"ann", TOPICS.partitions)
        state = b.worker.partitions[number]
        meta = json.loads(state.database.get(META))
        for made in meta["made_from"].values():
            del made["again"]
        state.database.put(META, json.dumps(meta).encode())
        restarted(b)
        await b.worker.assigned(b.keyed, now(b))
        assert made_again(b) == before
        assert before[TOPICS.events]
        assert b.worker.partitions[number].log_name(TOPICS.events) == renamed


def made_again(b):
    """Of each topic whether an earlier one of its name was read by ann's partition."""
    state = b.worker.partitions[murmur2_partition(b"ann", TOPICS.partitions)]
    return {topic: state.made_from(topic).again for topic in b.worker.topics}


async def test_a_topic_that_was_created_once_goes_by_its_name(tmp_path):
    with bench(tmp_path) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed, now(b))
        b.listen("ann", "a", "b")
        await b.drain()
        assert set(example_topics(b)) == {TOPICS.events}
