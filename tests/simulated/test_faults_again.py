"""Faults of trainers, bundles and canaries, put in by hand: the nights must find each of them."""

from contextlib import AbstractContextManager, suppress
from unittest.mock import patch

import pytest

from agents.bundles import announcing
from agents.bundles import models as served
from agents.bundles.channels import Channels
from agents.train import Train
from agents.training import canaries
from agents.training.publishing import FollowedBundles, Publisher
from agents.training.quality import QualityStore
from dynamic_layer.examples.offsets import SeenOffsets
from state import ArtifactStore, StoreUnavailable
from tests.simulated.put_in import Fault, is_found


def uploads_that_fail_are_taken_as_done() -> AbstractContextManager[object]:
    """The trainer announces a bundle that is not whole in the store."""
    really = ArtifactStore.publish

    def publish(self, *of):  # type: ignore[no-untyped-def]
        with suppress(StoreUnavailable):
            really(self, *of)

    return patch.object(ArtifactStore, "publish", publish)


def bundles_that_are_pinned_are_pruned() -> AbstractContextManager[object]:
    """What a channel serves goes with the old ones."""
    really = announcing._prune_unwanted

    async def nothing() -> set[str]:
        return set()

    return patch.object(
        announcing, "_prune_unwanted", lambda store, old, _, leaving: really(
            store, old, nothing, leaving
        )
    )  # fmt: skip


def pins_count_once_the_trainer_has_heard_of_them() -> AbstractContextManager[object]:
    """As it was: a bundle that was pinned just now, or before a restart, could be pruned."""

    async def heard(self):  # type: ignore[no-untyped-def]
        return set(self._wanted.values())

    return patch.object(FollowedBundles, "not_to_prune", heard)


def generations_begin_again() -> AbstractContextManager[object]:
    """A trainer that has lost its disk does not ask the store how far it was."""
    return patch("agents.training.continuing.next_generation", lambda _names, _channel: 1)


def refused_bundles_are_announced() -> AbstractContextManager[object]:
    """The gate's reasons are written down, and nothing comes of them."""
    really = QualityStore.decided

    def decided(self, decision):  # type: ignore[no-untyped-def]
        really(self, decision)
        decision.reasons.clear()

    return patch.object(QualityStore, "decided", decided)


def the_gate_forgets_what_is_served() -> AbstractContextManager[object]:
    """New bundles are held against the first one that this process has read."""
    really = Publisher.publish

    async def publish(self, *of, **more):  # type: ignore[no-untyped-def]
        before = self.served
        await really(self, *of, **more)
        self.served = before or self.served

    return patch.object(Publisher, "publish", publish)


def seen_examples_are_not_in_a_checkpoint() -> AbstractContextManager[object]:
    """What a worker has written twice is taken twice, if the trainer was restarted in between."""
    return patch.object(SeenOffsets, "restore", lambda *_: None)


def a_checkpoint_names_later_positions() -> AbstractContextManager[object]:
    """The records that come next are in no checkpoint and are not read again."""
    really = Train._recall

    def recall(self, saved):  # type: ignore[no-untyped-def]
        really(self, saved)
        self.read.positions = {place: offset + 1 for place, offset in self.read.positions.items()}

    return patch.object(Train, "_recall", recall)


def only_the_first_record_of_a_batch_is_taken() -> AbstractContextManager[object]:
    """Of records that are read together, the others are passed over."""
    really = Train.examples_came

    async def came(self, records):  # type: ignore[no-untyped-def]
        await really(self, records[:1])
        for record in records[1:]:
            self.read.positions[record.topic, record.partition] = record.offset + 1

    return patch.object(Train, "examples_came", came)


def removed_pins_stay() -> AbstractContextManager[object]:
    """A pin that is removed is served further on."""
    really = served.newest_announcements

    def newest(*of):  # type: ignore[no-untyped-def]
        return {kind: said for kind, said in really(*of).items() if said is not None}

    return patch.object(served, "newest_announcements", newest)


def the_first_of_two_announcements_counts() -> AbstractContextManager[object]:
    """Records that are read together are taken in the wrong order."""
    really = served.newest_announcements
    return patch.object(
        served, "newest_announcements", lambda records, *of: really(records[::-1], *of)
    )


def a_pin_is_served_only_if_it_is_newer() -> AbstractContextManager[object]:
    """A rollback has no effect."""
    return patch.object(
        served.Models, "wanted", property(lambda self: max(self._pinned or "", self._trained or ""))
    )


def rows_are_served_over_a_pinned_bundle() -> AbstractContextManager[object]:
    """A bundle to which a person has gone back is changed by rows of its trainer."""
    return patch.object(
        served.Models, "_rows_for", lambda self, recommender: self.rows.of(recommender.bundle.made)
    )


def rows_wait_for_the_next_bundle() -> AbstractContextManager[object]:
    """Rows are kept as they come, and served with the next announcement."""

    async def changed(self, records):  # type: ignore[no-untyped-def]
        self.rows.take(records)

    return patch.object(served.Models, "rows_changed", changed)


def a_canary_is_served_by_the_default_channel() -> AbstractContextManager[object]:
    """Its users are measured as such, and get the lists of the control."""
    return patch.object(Channels, "serving", lambda self, _: self.default)


def a_canary_that_was_stopped_is_started() -> AbstractContextManager[object]:
    """It begins with its first share at the next look."""
    really = canaries.decide

    def decide(arm, held, *of):  # type: ignore[no-untyped-def]
        return really(arm, held if held is None or held.state != "stopped" else None, *of)

    return patch.object(canaries, "decide", decide)


#: Each fault, with what the nights say of it, and the first seed that found it.
FOUND: dict[Fault, tuple[str, int]] = {
    uploads_that_fail_are_taken_as_done: ("is announced, and", 10),
    bundles_that_are_pinned_are_pruned: ("is in force, and not in the store", 11),
    pins_count_once_the_trainer_has_heard_of_them: ("is in force, and not in the store", 11),
    generations_begin_again: ("is announced after", 0),
    refused_bundles_are_announced: ("is announced, and the gate refused it", 1),
    the_gate_forgets_what_is_served: ("the gate held", 11),
    seen_examples_are_not_in_a_checkpoint: ("the trainer has taken twice", 15),
    a_checkpoint_names_later_positions: ("the trainer has skipped", 8),
    only_the_first_record_of_a_batch_is_taken: ("the trainer has counted", 0),
    removed_pins_stay: ("is in force", 8),
    the_first_of_two_announcements_counts: ("is in force", 5),
    a_pin_is_served_only_if_it_is_newer: ("is in force", 3),
    rows_are_served_over_a_pinned_bundle: ("serves rows", 5),
    rows_wait_for_the_next_bundle: ("serves rows", 70),
    a_canary_is_served_by_the_default_channel: ("to channel canary", 0),
    a_canary_that_was_stopped_is_started: ("a canary that was stopped", 0),
}


@pytest.mark.parametrize("fault", FOUND, ids=lambda fault: fault.__name__)
def test_nights_find_a_fault_that_is_put_in(fault):
    """See `is_found`."""
    assert is_found(fault, *FOUND[fault])
