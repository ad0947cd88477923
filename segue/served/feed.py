"""A data set as the product's input, and lists that the product writes for its users."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from dynamic_layer import ListSettings, default_lists
from evaluation.baselines import Rows
from evaluation.dataset import Dataset, Interactions
from evaluation.prequential.answers import DEPTH
from evaluation.prequential.stream import Questions
from evaluation.segments import ALL
from evaluation.trial import Trial
from segue.demo.material import EVENT_COLUMNS, Material, from_tables
from segue.demo.one_process import OneProcess
from segue.demo.one_process_steps import ask
from segue.feeding import catalogue_records, event_records
from segue.settings import Settings
from streams import Recommendation

__all__ = [
    "Clock",
    "Lists",
    "Reader",
    "Served",
    "frozen_lists",
    "lists_of",
    "live_lists",
    "material_of",
]

#: Pause between two looks at the topic, in seconds.
POLL_S = 0.002

Lists = Mapping[str, Rows]
"""Item type, or `all` -> rows of items, best first."""


class Clock:
    """The time of the log and of every role, ms UTC, set by hand."""

    def __init__(self, ms: int) -> None:
        """Start at a time."""
        self.ms = ms

    def __call__(self) -> int:
        """Return the time."""
        return self.ms


def lists_of(types: list[str], *, repeats: bool) -> tuple[ListSettings, ...]:
    """Return the product's default lists, as long as evaluation reads them.

    repeats: whether items that the user had may be listed.
    """
    return tuple(
        ListSettings(
            name=made.name,
            item_types=made.item_types,
            k=made.k,
            repeats="include" if repeats else "exclude",
        )
        for made in default_lists(types, DEPTH)
    )


def material_of(dataset: Dataset, trial: Trial, end_ms: int, settings: Settings) -> Material:
    """Return the events of a trial as the product's input: before and after the split.

    dataset: with the events after the split. end_ms: end of the test, ms UTC. Raises ValueError if
    the settings have no kind for weak signals and it is needed.
    """
    events = dataset.events
    first = int(trial.past.train.timestamp[0])
    events = events.where((events.timestamp >= first) & (events.timestamp < end_ms))
    items = dataset.items
    catalogue, launches = items_by(items, trial.past.at_ms)
    frame = pl.DataFrame(
        {
            "user_id": dataset.users[events.user],
            "item_id": items["item_id"].gather(events.item),
            "item_type": items["item_type"].gather(events.item),
            "kind": _kinds(events, settings),
            "timestamp": events.timestamp,
        }
    )
    material = from_tables(
        "the data set", catalogue.to_arrow(), frame.select(EVENT_COLUMNS), trial.past.at_ms
    )
    return replace(material, launches=launches.to_arrow())


def items_by(items: pl.DataFrame, at_ms: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the items that are published before a time, ms UTC, and the later ones in order.

    Items without `published_at` were there all along.
    """
    if "published_at" not in items.columns:
        return items, items.clear()
    later = (pl.col("published_at") >= at_ms).fill_null(value=False)
    return items.filter(~later), items.filter(later).sort("published_at", maintain_order=True)


def _kinds(events: Interactions, settings: Settings) -> npt.NDArray[np.str_]:
    """Return the kinds with which events are fed, str [n].

    A kind of the data stays if the product knows it and means the same by it: consumption or not.
    Other consumption gets the first of the graph kinds; other events a kind that says little.
    """
    graph, actions = settings.state.graph_kinds, settings.events.actions
    own = {action.kind for action in actions}
    weak = [kind for kind in settings.events.kinds if kind not in graph and kind not in own]
    known = np.zeros(len(events), np.bool_)
    if events.kind is not None:
        accepted = [*settings.events.kinds, *own]
        known = np.isin(events.kind, accepted) & (np.isin(events.kind, graph) == events.strong)
    if not weak and not (known | events.strong).all():
        raise ValueError("events.kinds has no kind for weak signals: all are in state.graph_kinds")
    fed = np.where(events.strong, graph[0], weak[0] if weak else graph[0])
    return fed if events.kind is None else np.where(known, events.kind, fed)


@dataclass(frozen=True)
class Reader:
    """Converts recommendations to rows of a data set, and counts those that a head ranked."""

    row_of: Mapping[tuple[str, str], int]
    types: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> "Reader":
        """Return a reader of lists of a data set's items."""
        names = zip(
            dataset.items["item_type"].to_list(), dataset.items["item_id"].to_list(), strict=True
        )
        return cls({name: row for row, name in enumerate(names)}, tuple(dataset.item_types))

    def __call__(self, answers: Mapping[str, Recommendation]) -> Lists:
        """Return the rows of each default list by item type."""
        found = {}
        for name, answer in answers.items():
            if name != "mix" and not name.startswith("discover-"):
                continue
            group = ALL if name == "mix" else name.removeprefix("discover-")
            rows = [self.row_of[item.item_type, item.item_id] for item in answer.items]
            found[group] = np.array(rows, np.int64)
        return found


@dataclass(frozen=True, kw_only=True)
class Served:
    """Lists by who and when. by_head: share of the mixed lists that a bundle's head ranked."""

    lists: Mapping[tuple[int, int], Lists]
    by_head: float


def _served(
    answers: Mapping[tuple[int, int], Mapping[str, Recommendation]], reader: Reader
) -> Served:
    ranked = [bool(one["mix"].by_head) for one in answers.values()]
    return Served(
        lists={key: reader(one) for key, one in answers.items()},
        by_head=float(np.mean(ranked)) if ranked else 0.0,
    )


async def frozen_lists(
    runtime: OneProcess,
    trial: Trial,
    reader: Reader,
    names: list[str],
    progress: Callable[[int], None],
) -> Served:
    """Request the lists of all test users at the split."""
    at = trial.past.at_ms
    await runtime.settled()
    ids = {str(trial.dataset.users[user]): int(user) for user in trial.truth.users}
    answers = await ask(runtime, list(ids), names, poll_s=POLL_S, progress=progress)
    return _served({(ids[user], at): lists for user, lists in answers.items()}, reader)


async def live_lists(
    runtime: OneProcess,
    clock: Clock,
    material: Material,
    questions: Questions,
    users: list[str],
    reader: Reader,
    names: list[str],
    progress: Callable[[int], None],
    learns_at: Collection[int] = (),
    learn: Callable[[], Awaitable[None]] | None = None,
) -> Served:
    """Feed the events after the split in order; request a user's lists just before each question.

    A list knows every event before its question, of all users, and nothing later. users: id of
    each user row. questions: those that count, in order of time. learns_at: times, ms UTC, at which
    `learn` is called: the trainer learns all that is there and publishes.
    """
    stream = _Stream(runtime, material)
    answers: dict[tuple[int, int], Mapping[str, Recommendation]] = {}
    last = int(questions.at_ms[-1]) if len(questions) else 0
    learns = {moment for moment in learns_at if moment <= last}
    for moment in sorted(learns | set(questions.at_ms.tolist())):
        # A list that is written at another time than it was made would count as skew.
        await runtime.between_answers()
        clock.ms = moment
        await stream.until(moment)
        await runtime.settled()
        if learn is not None and moment in learns:
            await learn()
        start, end = np.searchsorted(questions.at_ms, [moment, moment + 1]).tolist()
        if start == end:
            continue
        asked = sorted({int(user) for user in questions.user[start:end]})
        found = await ask(runtime, [users[user] for user in asked], names, poll_s=POLL_S)
        answers |= {(user, moment): found[users[user]] for user in asked}
        progress(end)
    return _served(answers, reader)


class _Stream:
    """The events and the launches after the split, in order of time."""

    def __init__(self, runtime: OneProcess, material: Material) -> None:
        self._runtime = runtime
        self._events, self._launches = material.part("test"), material.launches
        self._event_ms = self._events["timestamp"].to_numpy()
        self._launch_ms = np.zeros(0, np.int64)
        if self._launches is not None and len(self._launches):
            self._launch_ms = self._launches["published_at"].to_numpy()
        self._fed = self._launched = 0

    async def until(self, moment: int) -> None:
        """Write the events before a time, ms UTC, and the items that are published by then."""
        topics = self._runtime.settings.topics
        end = int(np.searchsorted(self._launch_ms, moment, side="right"))
        if self._launches is not None and end > self._launched:
            entries = self._launches.slice(self._launched, end - self._launched)
            records = catalogue_records(entries)
            await self._runtime.write(topics.catalogue, records, lambda _: None)
            self._launched = end
        end = int(np.searchsorted(self._event_ms, moment))
        batches = self._events.slice(self._fed, end - self._fed).to_arrow().to_batches()
        await self._runtime.write(topics.events, event_records(batches), lambda _: None)
        self._fed = end
