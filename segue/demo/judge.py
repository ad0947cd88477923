"""HR@10 and coverage on the test days: popularity, two-tower, with HGNN, with the ranking head.

Items that a user touched before the split, by any kind of event, are excluded for every model. Only
streams of items that are new to the user count as hits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from agents.working.partitions import user_state
from dynamic_layer import (
    DynamicBundle,
    DynamicSettings,
    ExampleBatch,
    ListSettings,
    Recommender,
    Trainer,
    UserState,
)
from evaluation import (
    Dataset,
    Protocol,
    Ranker,
    Result,
    dataset_of,
    evaluate,
    popularity,
    ranker_of,
    time_split,
)
from evaluation.two_tower import train_to_rest
from segue.demo.material import Material
from segue.settings import Settings
from segue.showing import history_rows
from state import Checkpoints, CoInteractions, PartitionState, item_key
from static_layer import Progress, StaticBundle
from streams import LogRecord, murmur2_partition

__all__ = ["Histories", "Judge", "Quality", "train_without_hgnn"]

#: Test users of one item type; more would only narrow the intervals. With more than two types
#: they share twice as many.
TEST_USERS = 4_000
Rows = npt.NDArray[np.int64]


class Histories:
    """Histories at the newest checkpoints, for evaluation and display."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        """Restore the checkpoints into `scratch`."""
        checkpoints = Checkpoints(settings.store())
        self._partitions = settings.topics.partitions
        self._states: dict[int, PartitionState] = {}
        self.counts = {"applied": 0, "refused": 0}
        self.bytes = 0
        for partition in checkpoints.partitions():
            folder = scratch / str(partition)
            manifest = checkpoints.restore(partition, folder)
            if manifest is not None:
                self._states[partition] = PartitionState(folder, partition, settings.state)
                self.bytes += manifest.bytes
                for name, count in manifest.counts.items():
                    self.counts[name] += count

    def __call__(self, user_id: str) -> UserState:
        """Return the attributes of a user."""
        partition = murmur2_partition(user_id.encode(), self._partitions)
        state = self._states.get(partition)
        if state is None:
            nothing = np.zeros(0, np.int64)
            return UserState(
                user_id=user_id,
                history_item=nothing.astype(np.uint64),
                history_time=nothing,
                history_strong=nothing.astype(bool),
            )
        return user_state(state, user_id)

    def users(self) -> int:
        """Number of histories."""
        return sum(state.histories() for state in self._states.values())

    def pairs(self) -> int:
        """Number of pairs of different items that share a user."""
        counts = CoInteractions.sum([s.co_interactions() for s in self._states.values()])
        return counts.pairs

    def rows(
        self, user_id: str, titles: Mapping[tuple[str, str], str], limit: int
    ) -> list[dict[str, Any]]:
        """Return a user's history, newest first, as `history_rows` does; empty without one."""
        partition = murmur2_partition(user_id.encode(), self._partitions)
        state = self._states.get(partition)
        if state is None:
            return []
        return history_rows(state, user_id, lambda *name: titles.get(name), limit)

    def titles(self, names: Mapping[tuple[str, str], str]) -> dict[int, str]:
        """Item key -> title with its type."""
        return {item_key(*name): f"{title} [{name[0]}]" for name, title in names.items()}

    def close(self) -> None:
        """Close the states."""
        for state in self._states.values():
            state.close()


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the tests found, by item type.

    hr_at_10, coverage: {type: {model: value}} of all test users; users: {type: their number}.
    """

    hr_at_10: dict[str, dict[str, float]]
    coverage: dict[str, dict[str, float]]
    users: dict[str, int]


class Judge:
    """Tests models on the events after the split, some now and others later."""

    def __init__(self, material: Material, histories: Histories) -> None:
        """histories: at the split."""
        catalogue = pl.from_arrow(material.catalogue)
        if not isinstance(catalogue, pl.DataFrame):
            raise TypeError("the catalogue is not a table")
        live = [event.row for event in material.live if not event.launch]
        events = material.events
        if live and not material.stamped:
            # Real data: the last test days are played live later, and are test days all the same.
            events = pl.concat([events, pl.DataFrame(live, schema=events.schema)])
        dataset = dataset_of(events, catalogue)
        # An item that was followed or previewed is known to the user: no model is asked for it.
        touched = dataset.events.strong | (dataset.events.timestamp < material.split_ms)
        self._dataset = replace(dataset, events=replace(dataset.events, strong=touched))
        end_ms = int(self._dataset.events.timestamp.max()) + 1
        self._days = (end_ms - material.split_ms) / 86_400_000
        self._split = time_split(self._dataset.events, test_days=self._days, end_ms=end_ms)
        self._histories, self._now_ms = histories, material.split_ms
        self._results: list[Result] = []

    def baselines(self) -> None:
        """Test popularity, over the whole past and over as many days as the test has."""
        items, train = len(self._dataset.items), self._split.train
        scorers = {
            "popularity": popularity(train, items),
            "popularity_recent": popularity(train, items, last_days=self._days),
        }
        self._test(
            {name: ranker_of(one, self._dataset, self._split) for name, one in scorers.items()}
        )

    def bundle(self, name: str, bundle: DynamicBundle) -> None:
        """Test a bundle's towers under a name, and its head, if it has one, as `ranking_head`."""
        models = {name: self._ranker(bundle, use_head=False)}
        if bundle.head is not None:
            models["ranking_head"] = self._ranker(bundle, use_head=True)
        self._test(models)

    def quality(self) -> Quality:
        """Return what the tests so far have found."""
        return Quality(
            hr_at_10=self._figures("hr_at_10"),
            coverage=self._figures("coverage"),
            users={row.item_type: row.users for row in self._of_all},
        )

    def _figures(self, name: str) -> dict[str, dict[str, float]]:
        table: dict[str, dict[str, float]] = {}
        for row in self._of_all:
            table.setdefault(row.item_type, {})[row.model] = round(getattr(row, name), 4)
        return table

    @property
    def _of_all(self) -> list[Result]:
        return [row for row in self._results if row.segment == "all"]

    def _test(self, models: Mapping[str, Ranker]) -> None:
        most = min(TEST_USERS, -(-2 * TEST_USERS // max(1, len(self._dataset.item_types))))
        self._results += evaluate(
            models, self._dataset, self._split, protocol=Protocol(max_users=most)
        )

    def _ranker(self, bundle: DynamicBundle, *, use_head: bool) -> Ranker:
        return _ranker(bundle, self._dataset, self._histories, self._now_ms, use_head=use_head)


def train_without_hgnn(
    static: StaticBundle,
    records: Iterable[LogRecord],
    settings: DynamicSettings,
    seed: int,
    progress: Progress,
) -> DynamicBundle:
    """Train the same towers on the same examples without the HGNN's vectors."""
    trainer = Trainer(static, replace(settings, use_hgnn=False), seed=seed)
    examples = 0
    for record in records:
        examples += trainer.add(ExampleBatch.unpack(record.value or b"")).accepted
    return train_to_rest(trainer, "two-tower without HGNN", examples, progress)


def _ranker(
    bundle: DynamicBundle,
    dataset: Dataset,
    histories: Histories,
    now_ms: int,
    *,
    use_head: bool = False,
) -> Ranker:
    """Rank as a worker does: with the bundle's head, or with its towers and popularity."""
    recommender = Recommender(bundle, use_head=use_head)
    names = zip(
        dataset.items["item_type"].to_list(), dataset.items["item_id"].to_list(), strict=True
    )
    row_of = {name: row for row, name in enumerate(names)}
    known: dict[int, UserState] = {}

    def state(user: int) -> UserState:
        if user not in known:
            known[user] = histories(str(dataset.users[user]))
        return known[user]

    def rank(users: Rows, item_type: str, k: int) -> Rows:
        asked = [ListSettings(name="test", item_types=(item_type,), k=k)]
        answers = recommender.recommend([state(int(u)) for u in users], asked, now_ms)
        lists = np.full((len(users), k), -1, np.int64)
        for place, answer in enumerate(answers):
            ranking = answer["test"]
            rows = _rows(ranking.item_types, ranking.item_ids, row_of)
            lists[place, : len(rows)] = rows
        return lists

    return rank


def _rows(
    types: Sequence[str], ids: Sequence[str], row_of: dict[tuple[str, str], int]
) -> list[int]:
    return [row_of.get(name, -1) for name in zip(types, ids, strict=True)]
