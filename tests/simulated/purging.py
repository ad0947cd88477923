"""Waits for RocksDB's own threads: they remove files a moment after a compaction has ended.

Until then a file may hold what the compaction dropped. On a busy machine a night that looks at the
files at once finds an erased user there who is gone a moment later.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from state import PartitionState
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.simulated.night import Night


def wait_for_removals(night: "Night") -> None:
    """Return once no open state has a table or manifest on its disk that it does not read."""
    for state in _open_states(night):
        wait_until(
            lambda state=state: not state.database.obsolete_files(),
            "RocksDB to remove obsolete files",
        )


def _open_states(night: "Night") -> Iterator[PartitionState]:
    for life in night.lives.values():
        yield from life.worker.partitions.states.values()
    if night.console.life is not None:
        yield from night.console.life.replica.partitions.states.values()
