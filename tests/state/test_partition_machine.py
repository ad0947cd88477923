"""A partition lives through anything: batches, redelivery, commits, crashes, restores, erasures."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from state import ArtifactStore, Checkpoints, StateSettings, open_or_restore
from tests.state.conftest import SCRATCH
from tests.state.dumps import dump
from tests.state.streams_of_events import (
    Erasure,
    Event,
    apply_records,
    defined_state,
    records_with_erasures,
    settings_of_state,
    tried,
)


class PartitionMachine(RuleBasedStateMachine):
    """One partition over one log; whatever happens, it is what the log below its position says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=SCRATCH))
        self.log: list[Event | Erasure] = []
        self.checkpoints = Checkpoints(ArtifactStore(str(self.folder / "store")), keep=2)
        self.lives = 0

    @initialize(setting=settings_of_state)
    def begins(self, setting: StateSettings) -> None:
        self.setting = setting
        self.opens()

    def opens(self) -> None:
        self.state = open_or_restore(
            self.checkpoints, self.folder / f"state-{self.lives}", 0, self.setting
        )

    @property
    def position(self) -> int:
        return self.state.position("events") or 0

    @rule(records=st.lists(records_with_erasures, min_size=1, max_size=12))
    def records_come(self, records: list[Event | Erasure]) -> None:
        self.log += records

    @rule(count=st.integers(1, 20), again=st.sampled_from([0, 0, 3]))
    def a_batch_is_applied(self, count: int, again: int) -> None:
        begin, end = max(0, self.position - again), min(len(self.log), self.position + count)
        apply_records(self.state, "events", self.log, begin, end)

    @rule()
    def it_commits(self) -> None:
        self.state.commit()

    @rule(partitions=st.integers(1, 9))
    def others_share_its_cache(self, partitions: int) -> None:
        self.state.share_cache(partitions)

    @rule()
    def it_checkpoints(self) -> None:
        self.state.commit()
        self.state.merge_runs()
        self.state.compact_erased()
        self.checkpoints.create(self.state, self.folder / "scratch", self.position)

    @rule()
    def it_is_killed(self) -> None:
        self.state.close()
        self.opens()

    @rule()
    def its_disk_is_lost(self) -> None:
        self.state.close()
        self.lives += 1
        self.opens()

    @rule()
    def it_is_what_the_log_says(self) -> None:
        applied = self.log[: self.position]
        assert dump(self.state).differences(defined_state(applied, self.setting)) == []
        assert sum(self.state.counts.values()) == len(applied)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            apply_records(self.state, "events", self.log, 0, len(self.log))
            try:
                self.it_is_what_the_log_says()
            finally:
                self.state.close()
        shutil.rmtree(self.folder)


TestPartition = PartitionMachine.TestCase
TestPartition.settings = tried(1 / 6, steps=15)
