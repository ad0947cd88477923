"""Faults of what is read and kept, put in by hand: the nights must find each of them."""

from contextlib import AbstractContextManager
from unittest.mock import patch

import pytest

from agents import Worker
from agents.bundles.channels import Channels
from agents.policies import PolicyBook
from agents.policy_versions import in_force, write_version
from agents.recommend import Recommend
from agents.working.request_queue import RequestQueue
from console.replica import Replica
from dynamic_layer import ItemColumns, Policy, PolicyError, Recommender, rules_of
from state import PartitionState
from streams import KafkaSettings
from tests.simulated.put_in import Fault, is_found
from tests.simulated.transactions import follower


def a_replica_names_what_it_has_not_read() -> AbstractContextManager[object]:
    """Answers name the end of the batch that is being applied."""
    really = Replica.event_positions

    def positions(self, partition):  # type: ignore[no-untyped-def]
        found = really(self, partition)
        return found | {"positions": {name: at + 1 for name, at in found["positions"].items()}}

    return patch.object(Replica, "event_positions", positions)


def a_replica_loses_a_record_at_a_restart() -> AbstractContextManager[object]:
    """Reading goes on one record behind the position of the state."""
    really = follower

    def behind(log):  # type: ignore[no-untyped-def]
        def follow(_, positions, *of):  # type: ignore[no-untyped-def]
            later = {place: min(at + 1, log.end_offset(*place)) for place, at in positions.items()}
            return really(log)(log, later, *of)

        return follow

    return patch("tests.simulated.run.follower", behind)


def an_erasure_is_not_checkpointed_after_a_restart() -> AbstractContextManager[object]:
    """The user stays in the store until something else changes the state."""
    really = Worker.assigned

    async def assigned(self, *of, **more):  # type: ignore[no-untyped-def]
        before = set(self._checkpoints.changed)
        await really(self, *of, **more)
        self._checkpoints.changed &= before

    return patch.object(Worker, "assigned", assigned)


def states_that_were_put_aside_stay() -> AbstractContextManager[object]:
    """An erasure leaves the user in a damaged state that lies beside the new one."""
    return patch("agents.working.partitions.remove_aside", lambda _: None)


def erased_users_stay_in_the_queue() -> AbstractContextManager[object]:
    """A list is made of a user who waited when the erasure came."""
    return patch.object(Recommend, "withdraw", lambda *_: None)


def topics_that_were_created_again_are_not_noticed() -> AbstractContextManager[object]:
    """As it was: a state went on at its position in another topic of the same name."""
    return patch("agents.working.partitions.check_made_from", lambda *_: None)


def consumers_get_records_of_aborted_transactions() -> AbstractContextManager[object]:
    """As it was: clients were left at their own default."""
    return patch.object(KafkaSettings, "for_consumer", lambda _: {"isolation_level": ""})


def offsets_without_records_are_not_passed() -> AbstractContextManager[object]:
    """As it was: a state stayed before the marker of a transaction, with a lag of 1 for good."""
    return patch.object(PartitionState, "pass_empty", lambda *_: True)


def requests_wait_before_a_marker() -> AbstractContextManager[object]:
    """The same of requests, whose position is the group's."""
    return patch.object(RequestQueue, "pass_empty", lambda *_: True)


def items_that_come_back_stay_away() -> AbstractContextManager[object]:
    """As it was: until the next bundle."""
    return patch.object(Recommender, "restore_items", lambda *_: 0)


def lists_do_not_wait_for_the_catalogue() -> AbstractContextManager[object]:
    """As it was where there is no policy: after a start, items that were taken down are listed."""
    ready = property(
        lambda self: (
            self.policies_read.is_set()
            and (self.catalogue_read.is_set() or not self.in_force.policies.by_list)
        )
    )
    return patch.object(PolicyBook, "ready", ready)


def takedowns_wait_for_the_next_bundle() -> AbstractContextManager[object]:
    """They are known, and the bundle in use goes on with the items."""
    return patch.object(Recommender, "remove_items", lambda *_: 0)


def the_catalogue_is_taken_again() -> AbstractContextManager[object]:
    """As it was: after a lost connection, what has left came back for a moment."""
    really = Channels.catalogue

    async def catalogue(self, records):  # type: ignore[no-untyped-def]
        self._catalogue_to.clear()
        await really(self, records)

    return patch.object(Channels, "catalogue", catalogue)


def lists_that_are_late_hold_what_has_left() -> AbstractContextManager[object]:
    """An item that leaves while a list is made is in it."""
    return patch.object(ItemColumns, "changed_keys", lambda *_: set())


def entries_that_are_deleted_stay_in_the_state() -> AbstractContextManager[object]:
    """The static job goes on with them."""
    really = PartitionState.apply_items

    def apply(self, topic, records, next_offset):  # type: ignore[no-untyped-def]
        really(self, topic, [one for one in records if one[2] is not None], next_offset)

    return patch.object(PartitionState, "apply_items", apply)


def a_bad_policy_ends_the_last_good_one() -> AbstractContextManager[object]:
    """A version that cannot be compiled counts as one without rules."""
    really = Policy.of

    def of(rules, version=0):  # type: ignore[no-untyped-def]
        try:
            return really(rules, version)
        except PolicyError:
            return really(rules_of({}), version)

    return patch("agents.policies.Policy.of", of)


def policies_revert() -> AbstractContextManager[object]:
    """A version that is read again is in force again."""
    really = PolicyBook.take

    async def take(self, records):  # type: ignore[no-untyped-def]
        for record in records:
            self._read_to = 0
            self._newest.clear()
            await really(self, [record])

    return patch.object(PolicyBook, "take", take)


def an_undo_repeats_what_is_in_force() -> AbstractContextManager[object]:
    """The version before may have the same rules."""
    return patch("agents.policy_versions.before", lambda found: in_force(found[:-1]))


def a_version_that_was_first_is_written_over() -> AbstractContextManager[object]:
    """Of two people who write the same version, the second one wins."""
    really = write_version

    async def write(read, append, *of, **more):  # type: ignore[no-untyped-def]
        wrote = []

        async def once(key, value):  # type: ignore[no-untyped-def]
            if not wrote:
                await append(key, value)
            wrote.append(key)

        return await really(read, once, *of, **more)

    return patch("tests.simulated.policies.write_version", write)


#: Each fault, with what the nights say of it, and the first seed that found it.
FOUND: dict[Fault, tuple[str, int]] = {
    a_replica_names_what_it_has_not_read: ("the console has not read", 0),
    a_replica_loses_a_record_at_a_restart: ("console, partition", 0),
    an_erasure_is_not_checkpointed_after_a_restart: ("without further events still in", 2),
    states_that_were_put_aside_stay: ("without further events still in", 7),
    erased_users_stay_in_the_queue: ("and a list was written afterwards", 2),
    topics_that_were_created_again_are_not_noticed: ("partition", 3),
    consumers_get_records_of_aborted_transactions: ("partition", 0),
    offsets_without_records_are_not_passed: ("has read", 3),
    requests_wait_before_a_marker: ("has read segue.requests", 3),
    items_that_come_back_stay_away: ("makes the list", 1),
    lists_do_not_wait_for_the_catalogue: ("which was taken down", 3),
    takedowns_wait_for_the_next_bundle: ("which was taken down", 0),
    the_catalogue_is_taken_again: ("makes the list", 5),
    lists_that_are_late_hold_what_has_left: ("which", 9),
    entries_that_are_deleted_stay_in_the_state: ("catalogue", 0),
    a_bad_policy_ends_the_last_good_one: ("of policies, not", 2),
    policies_revert: ("of policies, not", 5),
    an_undo_repeats_what_is_in_force: ("an undo of version", 49),
    a_version_that_was_first_is_written_over: ("is not what was first", 4),
}


@pytest.mark.parametrize("fault", FOUND, ids=lambda fault: fault.__name__)
def test_nights_find_a_fault_that_is_put_in(fault):
    """See `is_found`."""
    assert is_found(fault, *FOUND[fault])
