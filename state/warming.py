"""Compiles the kernels before they are needed, so that no batch waits for it."""

import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from state.merge import merge_folders
from state.partition import PartitionState
from state.settings import StateSettings, Window
from state.shown import SHOWN_KIND

__all__ = ["compile_kernels"]

DAY = 86_400_000


def compile_kernels() -> None:
    """Run every kernel once, on a state of its own that is thrown away.

    Compiled code is cached beside the source (numba's cache): half a minute the first time after
    an installation, half a second from then on.
    """
    settings = replace(
        StateSettings(), window=Window(buckets=3), history_cap=3, delta_room=16, merge_runs=2
    )
    with tempfile.TemporaryDirectory(prefix="segue-warming-") as scratch:
        state = PartitionState(Path(scratch) / "state", 0, settings)
        for day in range(6):
            n = 6
            events = SimpleNamespace(
                user_id=["u"] * n,
                item_type=["t"] * n,
                item_id=[f"i{(day + at) % 5}" for at in range(n)],
                kind=["stream"] * n,
                timestamp=np.full(n, day * DAY),
                offset=np.arange(day * n, day * n + n),
            )
            state.apply_events(
                "events", events, (day + 1) * n, wanted=lambda o: np.ones(len(o), bool), observe=2
            )
            state.commit()
        state.neighbours("t", "i0")
        state.history("u")
        impressions = SimpleNamespace(**vars(events) | {"kind": [SHOWN_KIND] * n})
        impressions.position = impressions.list_code = None
        state.apply_events("shown", impressions, 6 * n)
        state.commit()
        state.shown("u").before(7 * DAY)
        merge_folders({0: state.folder}, settings)
        state.erase("events", "u", 6 * 6, 0)
        state.commit()
        state.close()
