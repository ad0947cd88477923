"""Checkpoints of three partitions and known text vectors, for jobs that run in other processes."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from state import ArtifactStore, Checkpoints, PartitionState, StateSettings, Window, item_key
from static_layer.settings import (
    GraphSettings,
    HGNNSettings,
    StaticSettings,
    TextSettings,
    TrainSettings,
)
from static_layer.text import TextEncoder
from static_layer.text_cache import VectorCache

ITEMS, USERS, COMMUNITIES, PER_USER = 90, 240, 5, 8
STATE = StateSettings(window=Window(buckets=30))
DAY_MS = STATE.window.bucket_ms
# All neighbours: sampled ones are each process's own.
STATIC = StaticSettings(
    graph=GraphSettings(max_degree=8),
    hgnn=HGNNSettings(hidden=16, output=16, structure=8),
    train=TrainSettings(
        epochs=2, batch_size=250, negatives=64, fan_outs=(0, 0), cold_share=0.3, device="cpu"
    ),
)
_HGNN = ("hidden", "output", "structure")
_TRAIN = ("epochs", "batch_size", "negatives", "cold_share", "device")


def write_world(folder: Path, seed: int = 0) -> None:
    """Write `store` (an artifact store) and `text.db` (a cache of text vectors) into a folder.

    The first partition is twelve days ahead of the others, whose oldest events are therefore
    outside of the common window. It has an older checkpoint, too, which is not.
    """
    rng = np.random.default_rng(seed)
    names = [("podcast" if n % 3 else "audiobook", str(n)) for n in range(ITEMS)]
    community = rng.integers(COMMUNITIES, size=ITEMS)
    checkpoints = Checkpoints(ArtifactStore(str(folder / "store")))
    for partition in range(3):
        state = PartitionState(folder / "state" / str(partition), partition, STATE)
        mine = range(partition, ITEMS, 3)
        entries = [_entry(offset, row, names[row]) for offset, row in enumerate(mine)]
        state.apply_items("catalogue", entries, len(entries))
        heard: list[tuple[int, str, tuple[str, str]]] = []
        for user in range(partition, USERS, 3):
            own = np.flatnonzero(community == rng.integers(COMMUNITIES))
            chosen = np.append(rng.choice(own, PER_USER), rng.integers(ITEMS))
            days = 100 + rng.integers(28, size=len(chosen))
            heard += [
                (int(day) * DAY_MS, f"u{user}", names[row])
                for day, row in zip(days, chosen, strict=True)
            ]
        heard.sort()
        _apply(state, heard)
        checkpoints.create(state, folder / "scratch", 1)
        if partition == 0:
            later = [(time + 12 * DAY_MS, f"{user}x", item) for time, user, item in heard]
            _apply(state, heard + later)
            checkpoints.create(state, folder / "scratch", 2)
        state.close()
    centres = rng.normal(size=(COMMUNITIES, 384))
    vectors = centres[community] + 2.0 * rng.normal(size=(ITEMS, 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    encoder = TextEncoder(text_settings(folder))
    with VectorCache(folder / "text.db") as cache:
        cache.add({encoder.key(f"item {n}"): vectors[n] for n in range(ITEMS)})
    encoder.close()


def text_settings(folder: Path) -> TextSettings:
    """Settings of a text encoder that knows all texts of the world."""
    return TextSettings(cache=str(folder / "text.db"))


def flags(folder: Path) -> list[str]:
    """Options of `segue` that name the world in a folder, and the settings above."""
    values = {
        "data": folder / "data",
        "artifacts": folder / "store",
        "state.window.buckets": STATE.window.buckets,
        "static.text.cache": text_settings(folder).cache,
        "static.graph.max_degree": STATIC.graph.max_degree,
        **{f"static.hgnn.{name}": getattr(STATIC.hgnn, name) for name in _HGNN},
        **{f"static.train.{name}": getattr(STATIC.train, name) for name in _TRAIN},
        "static.train.fan_outs": "0,0",
    }
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def _apply(state: PartitionState, heard: list[tuple[int, str, tuple[str, str]]]) -> None:
    """Apply the log of events up to here; the state skips what it has applied before."""
    columns = SimpleNamespace(
        user_id=[user for _, user, _ in heard],
        item_type=[kind for _, _, (kind, _) in heard],
        item_id=[name for _, _, (_, name) in heard],
        kind=["stream"] * len(heard),
        timestamp=np.array([time_ms for time_ms, _, _ in heard]),
        offset=np.arange(len(heard)),
    )
    state.apply_events("events", columns, len(heard))


def _entry(offset: int, row: int, name: tuple[str, str]) -> tuple[int, bytes, bytes]:
    entry = {"item_type": name[0], "item_id": name[1], "title": f"item {row}"}
    return offset, b"%d" % item_key(*name), json.dumps(entry).encode()
