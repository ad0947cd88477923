"""What a worker promises, on the embedded log."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from agents import WorkerSettings
from agents.working.partitions import user_state
from dynamic_layer import ExampleBatch, ItemNames, Ranking, kind_code
from simulation import faults
from state import Action, Checkpoints, StateSettings, item_key, merge_checkpoints
from streams import ActionSettings, EventRules, Item, Recommendation, User, decode, encode
from tests.agents.worlds import NOW, TOPICS, bench
from tests.state.dumps import dump


async def test_every_record_is_applied_or_a_dead_letter(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        bad = list(faults(16, NOW, item_type="podcast", huge_bytes=100_000))
        for fault in bad:
            b.log.append(TOPICS.events, fault.key, fault.value)
        b.listen("bob", "c")
        await b.drain()
        assert sorted(letter.reason for letter in b.letters()) == sorted(
            fault.reason for fault in bad if fault.reason
        )
        counts = [state.counts for state in b.worker.partitions.states.values()]
        total = sum(c["applied"] + c["refused"] for c in counts)
        assert total == len(bad) + 3
        assert sum(c["refused"] for c in counts) == len(b.letters())


async def test_an_event_behind_the_window_is_a_dead_letter(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        b.clock.ms -= 91 * 86_400_000
        b.listen("ann", "b")
        b.clock.ms = NOW
        await b.drain()
        assert [letter.reason for letter in b.letters()] == ["too_old"]


async def test_a_worker_goes_on_where_its_commit_was(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        b.listen("bob", "a", "b", "c")
        await b.drain()
        committed = await b.worker.commit()
        b.listen("ann", "c")
        await b.drain()
        b.worker.close()  # like a crash: what came after the commit is gone

        b.worker = b.new_worker("w")
        await b.worker.assigned(b.keyed)
        assert b.worker.positions() == committed
        await b.drain()
        expected = [item_key("podcast", item) for item in "abc"]
        for user in ("ann", "bob"):
            state = next(s for s in b.worker.partitions.states.values() if len(s.history(user)))
            assert sorted(state.history(user).item_keys.tolist()) == sorted(expected)


def answering(worker):
    """Have a worker answer with empty lists, as if it had a model with a head.

    Its `models.rounds` has the users of each round, and by what their candidates were divided.
    """
    rounds = []

    async def recommend(users, lists, now_ms, *, fewer=1):
        rounds.append((len(users), fewer))
        empty = Ranking(names=ItemNames(), rows=[], scores=np.zeros(0, np.float32), by_head=True)
        return 1, [{"mix": empty} for _ in users]

    worker.models.recommender = SimpleNamespace(has_head=True)
    worker.models.recommend, worker.models.rounds = recommend, rounds
    return worker


async def read_on(b, batch=100):
    """Have the worker read on from where its states say, as its transport does."""
    states = b.worker.partitions
    for topic, number in b.keyed:
        at = (states.position(topic, number) or 0) - states.rewind(topic, number)
        while records := b.log.read(topic, number, at, batch):
            await b.worker.handle(records)
            at = records[-1].offset + 1


def answered(b):
    return sorted(
        (decode(Recommendation, value).user_id, decode(Recommendation, value).source.offset)
        for value in b.records(TOPICS.recommendations)
    )


async def test_rounds_have_fewer_candidates_while_many_wait(tmp_path):
    settings = WorkerSettings(answer_users=3, head_waiting=2)
    with bench(tmp_path, settings=settings) as b:
        answering(b.worker)
        await b.worker.assigned(b.keyed)
        for number in range(9):
            b.listen(f"u{number}", "a")
        await read_on(b)
        for _ in range(3):
            await b.worker.tick()
        # Behind the rounds 6, 3 and 0 users wait.
        assert b.worker.models.rounds == [(3, 4), (3, 2), (3, 1)]
        metric = "segue_answers_shortened_total"
        assert b.worker.tally.registry.get_sample_value(metric) == 6
        assert len(answered(b)) == 9


async def test_a_worker_that_is_closed_before_its_sweep_begins_leaves_its_states(tmp_path):
    with bench(tmp_path) as b:  # whose clock says that every file is older than a week
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await read_on(b)
        await b.worker.commit()
        folders = sorted((tmp_path / "w" / "state").iterdir())
        await b.worker.tick()
        b.worker.close()
        await b.worker._checkpointing
        assert sorted((tmp_path / "w" / "state").iterdir()) == folders
        assert folders


@pytest.mark.parametrize("end", ["crash", "rebalance", "crash while they are answered"])
async def test_users_who_wait_at_the_end_of_a_worker_are_answered_by_the_next(tmp_path, end):
    with bench(tmp_path) as b:
        answering(b.worker)
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await read_on(b)
        await b.worker.tick()
        b.listen("bob", "a", "b")
        b.log.append(TOPICS.events, b"ann", b"{")
        await read_on(b)
        if end == "crash while they are answered":
            b.worker._recommend.take()
        await b.worker.commit()
        if end == "rebalance":
            await b.worker.revoked(b.keyed)
            await b.worker.uploaded()
        counts = {n: state.counts for n, state in b.worker.partitions.states.items()}
        b.worker.close()
        assert {user for user, _ in answered(b)} == {"ann"}

        b.worker = answering(b.new_worker("another" if end == "rebalance" else "w"))
        await b.worker.assigned(b.keyed)
        await read_on(b)
        await b.worker.tick()
        latest = dict(answered(b))
        assert latest.keys() == {"ann", "bob"}
        assert latest["bob"] == max(at for user, at in answered(b) if user == "bob")
        for number, state in b.worker.partitions.states.items():
            assert state.counts == counts.get(number, state.counts)
        assert len(b.letters()) == 1, "what is read again is not refused again"


async def test_a_worker_is_answering_until_the_lists_are_written(tmp_path):
    with bench(tmp_path) as b:
        answering(b.worker)
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        await read_on(b)
        assert not b.worker.answering
        taken = b.worker._recommend.take()
        assert b.worker.answering
        await b.worker._recommend.answer(taken)
        assert not b.worker.answering
        assert {user for user, _ in answered(b)} == {"ann"}


async def test_who_is_answered_is_not_read_again_after_a_commit(tmp_path):
    with bench(tmp_path) as b:
        answering(b.worker)
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        b.listen("bob", "b")
        await read_on(b)
        await b.worker.commit()
        waiting = [b.worker.partitions.rewind(*place) for place in b.keyed]
        assert sum(waiting) == 2
        await b.worker.tick()
        await b.worker.commit()
        b.worker.close()
        b.worker = answering(b.new_worker("w"))
        await b.worker.assigned(b.keyed)
        assert [b.worker.partitions.rewind(*place) for place in b.keyed] == [0] * len(b.keyed)


async def test_a_second_crash_before_all_is_read_again_loses_nobody(tmp_path):
    with bench(tmp_path) as b:
        answering(b.worker)
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a")
        b.listen("bob", "b")
        await read_on(b, batch=1)
        await b.worker.commit()
        for _ in range(2):
            b.worker.close()
            b.worker = answering(b.new_worker("w"))
            await b.worker.assigned(b.keyed)
            await b.worker.commit()
        await read_on(b)
        await b.worker.tick()
        assert {user for user, _ in answered(b)} == {"ann", "bob"}


async def test_no_more_is_read_again_than_the_settings_allow(tmp_path):
    with bench(tmp_path, WorkerSettings(answer_backlog=3)) as b:
        await b.worker.assigned(b.keyed)
        for number in range(10):
            b.listen("ann", f"i{number}")
        await read_on(b, batch=1)
        await b.worker.commit()
        assert max(b.worker.partitions.rewind(*place) for place in b.keyed) <= 3


async def test_an_empty_disk_is_restored_from_the_artifact_store(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        await b.drain()
        await b.worker.checkpoint()
        b.listen("ann", "c")
        await b.drain()
        before = {n: dump(s) for n, s in b.worker.partitions.states.items()}
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        assert any(other.positions().values()), "the checkpoint was not restored"
        await b.drain(other)
        after = {n: dump(s) for n, s in other.partitions.states.items()}
        assert all(before[n].differences(after[n]) == [] for n in before)
        other.close()


async def test_revoked_partitions_are_committed_checkpointed_and_closed(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        await b.drain()
        await b.worker.revoked(b.keyed)
        assert b.worker.partitions.states == {}
        await b.worker.uploaded()
        other = b.new_worker("another disk")
        await other.assigned(b.keyed)
        assert sum(other.positions().values()) == 2
        other.close()


async def test_examples_hold_the_history_before_the_event(tmp_path):
    with bench(tmp_path) as b:
        b.worker.models.static_generation = 1  # examples are made once there is a graph
        await b.worker.assigned(b.keyed)
        user = User(user_id="ann", country="SE", birth_year=1990)
        b.log.append(TOPICS.users, user.key, encode(user))
        await b.drain()
        for item in "abca":
            b.listen("ann", item)
            b.clock.ms += 1_000
        await b.drain()
        [batch] = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        key = {item: item_key("podcast", item) for item in "abc"}
        assert batch.target.tolist() == [key[item] for item in "abca"]
        histories = [
            batch.history_item[start:end].tolist()
            for start, end in zip(batch.indptr, batch.indptr[1:], strict=False)
        ]
        assert histories == [[], [key["a"]], [key["b"], key["a"]], [key["c"], key["b"], key["a"]]]
        assert batch.repeat.tolist() == [False, False, False, True]
        assert batch.country == ["SE"] * 4
        assert batch.birth_year.tolist() == [1990] * 4


async def test_a_first_stream_after_a_weak_signal_is_no_repeat(tmp_path):
    with bench(tmp_path) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        for kind in ("follow", "follow", "stream", "follow", "stream"):
            b.listen("ann", "a", kind=kind)
            b.clock.ms += 1_000
        await b.drain()
        [batch] = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        assert batch.strong.tolist() == [False, False, True, False, True]
        assert batch.repeat.tolist() == [False, True, False, True, True]


async def test_most_histories_are_cut_and_a_share_is_whole(tmp_path):
    settings = replace(WorkerSettings(), example_history=3, whole_share=0.5)
    with bench(tmp_path, settings=settings) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        for number in range(60):
            b.listen("ann", f"item-{number}")
            b.clock.ms += 1_000
        await b.drain()
        parts = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        sizes = np.concatenate([np.diff(part.indptr) for part in parts])
        offsets = np.concatenate([part.offset for part in parts])
        # The trainer holds out the examples whose hash is smallest: they must be whole.
        place = (offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) / 2.0**64
        whole = place < 0.5
        assert (
            sizes.tolist() == np.where(whole, np.arange(60), np.minimum(np.arange(60), 3)).tolist()
        )
        assert 15 < whole.sum() < 45


async def test_no_examples_are_written_before_the_first_static_bundle(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        b.listen("ann", "a", "b")
        await b.drain()
        assert b.records(TOPICS.examples) == []


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
async def test_examples_are_sampled_by_offset_alike_in_every_replay(tmp_path, share):
    with bench(tmp_path, WorkerSettings(example_share=share)) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        b.listen("ann", *(f"i{n}" for n in range(400)))
        await b.drain()
        batches = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        offsets = np.concatenate([x.offset for x in batches]) if batches else np.zeros(0)
        assert abs(len(offsets) / 400 - share) < 0.08
        other = b.new_worker("replay")
        other.models.static_generation = 1
        await other.assigned(b.keyed)
        await b.drain(other, batch=7)
        again = [ExampleBatch.unpack(v) for v in b.records(TOPICS.examples)][len(batches) :]
        replayed = np.concatenate([x.offset for x in again]) if again else np.zeros(0)
        assert replayed.tolist() == offsets.tolist()
        other.close()


async def test_catalogue_entries_reach_the_checkpoint_and_deletions_too(tmp_path):
    with bench(tmp_path) as b:
        await b.worker.assigned(b.keyed)
        for name in ("kept", "gone"):
            item = Item(item_id=name, item_type="podcast", title=name)
            b.log.append(TOPICS.catalogue, item.key, encode(item))
        b.log.append(TOPICS.catalogue, b"podcast\0gone", None)
        b.log.append(TOPICS.catalogue, b"podcast\0broken", b"{")
        b.listen("ann", "kept", "gone")
        await b.drain()
        await b.worker.checkpoint()
        merged = merge_checkpoints(
            Checkpoints(b.worker.partitions._checkpoints.store), StateSettings(delta_room=1 << 12)
        )
        assert merged.catalogue["item_id"].to_list() == ["kept"]
        assert merged.co_interactions.pairs == 1
        assert [letter.reason for letter in b.letters()] == ["malformed"]


async def test_examples_name_their_kind_and_a_dislike_is_none(tmp_path):
    actions = (Action(kind="dislike", sign="negative"), Action(kind="follow"))
    rules = EventRules(actions=tuple(ActionSettings(kind=a.kind, sign=a.sign) for a in actions))
    with bench(
        tmp_path, rules=rules, state=StateSettings(delta_room=1 << 12, actions=actions)
    ) as b:
        b.worker.models.static_generation = 1
        await b.worker.assigned(b.keyed)
        for item, kind in (("a", "stream"), ("b", "follow"), ("a", "dislike"), ("c", "stream")):
            b.listen("ann", item, kind=kind)
            b.clock.ms += 1_000
        await b.drain()
        assert b.letters() == []
        [batch] = [ExampleBatch.unpack(value) for value in b.records(TOPICS.examples)]
        key = {item: item_key("podcast", item) for item in "abc"}
        assert batch.target.tolist() == [key[item] for item in "abc"]
        assert batch.kind.tolist() == [kind_code(k) for k in ("stream", "follow", "stream")]
        assert batch.history_item[batch.indptr[2] :].tolist() == [key["b"]]
        [state] = [s for s in b.worker.partitions.states.values() if len(s.history("ann"))]
        user = user_state(state, "ann")
        assert user.history_item.tolist() == [key["c"], key["b"]]
        assert (user.disliked.tolist(), user.demotion) == ([key["a"]], 0.25)
