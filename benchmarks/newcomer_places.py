"""Where a new item stood in the lists of fans who were not shown it, and behind what."""

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from agents.bundles.announcing import fetch_dynamic
from benchmarks.newcomer_watch import Watched
from dynamic_layer import ListSettings, NewItems, Recommender
from segue.demo.judge import Histories
from segue.roles import make_encoder
from segue.settings import Settings
from state import item_key
from static_layer import catalogue_texts
from streams.log_record import now_ms

__all__ = ["Standing", "places"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One user and one new item.

    place: in a list of all items of its type, from 1; alike: share of the items of its topic, type
    and language among the ten at the head of the list, the item itself left out.
    """

    user: str
    place: int
    alike: float


def places(settings: Settings, found: Sequence[Watched]) -> list[list[Standing]]:
    """Return the standings of each launch's users, from the newest bundle and last checkpoints."""
    store = settings.store()
    with tempfile.TemporaryDirectory(dir=settings.folder) as scratch:
        name = store.names("dynamic")[-1]
        bundle = fetch_dynamic(store, name, Path(scratch))
        histories = Histories(settings, Path(scratch) / "histories")
        try:
            return _places(settings, Recommender(bundle), histories, found)
        finally:
            histories.close()


def _places(
    settings: Settings, recommender: Recommender, histories: Histories, found: Sequence[Watched]
) -> list[list[Standing]]:
    items = [watched.launch.item for watched in found]
    entries = pl.DataFrame(
        {
            "item_type": [item.item_type for item in items],
            "title": [item.title for item in items],
            "description": [item.description for item in items],
        }
    )
    with closing(make_encoder(settings)) as encoder:
        text = encoder.encode(catalogue_texts(entries)[0])
    standings = []
    for row, watched in enumerate(found):
        item, users = items[row], list(watched.launch.asked)
        key = np.array([item_key(item.item_type, item.item_id)], np.uint64)
        recommender.add_items(NewItems(
            item_keys=key, item_ids=[item.item_id], item_types=[item.item_type],
            languages=[item.language], genres=[item.genres], text=text[row : row + 1]))  # fmt: skip
        everything = ListSettings(name="all", item_types=(item.item_type,), k=len(recommender))
        answers = recommender.recommend([histories(u) for u in users], [everything], now_ms())
        recommender.remove_items(key)
        standings.append(
            [
                _standing(user, answer["all"].item_ids, watched)
                for user, answer in zip(users, answers, strict=True)
            ]
        )
    return standings


def _standing(user: str, ids: list[str], watched: Watched) -> Standing:
    item = watched.launch.item
    place = ids.index(item.item_id)
    ahead = [name for name in ids[:11] if name != item.item_id][:10]
    alike = sum((item.item_type, name) in watched.launch.alike for name in ahead)
    return Standing(user=user, place=place + 1, alike=alike / max(1, len(ahead)))
