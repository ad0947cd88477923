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
        wait_until(lambda state=state: not obsolete(state), "RocksDB to remove obsolete files")


def _open_states(night: "Night") -> Iterator[PartitionState]:
    for life in night.lives.values():
        yield from life.worker.partitions.states.values()
    if night.console.life is not None:
        yield from night.console.life.replica.partitions.states.values()


def obsolete(state: PartitionState) -> set[str]:
    """Return names of tables and manifests that RocksDB has on the disk and does not read.

    The manifest before the last change names the keys of tables that the change removed.
    """
    live = {table["name"].lstrip("/") for table in state._database._rocks.live_files()}
    live.add((state.folder / "CURRENT").read_text().strip())
    found = (path for kind in ("*.sst", "MANIFEST-*") for path in state.folder.glob(kind))
    return {path.name for path in found} - live
