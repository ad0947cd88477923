"""The simulated world: a catalogue, an audience, its past and its live traffic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simulation.audience import Audience, draw_audience
from simulation.catalogue import Items, describe, draw_items
from simulation.choice import Chooser, Choosing
from simulation.history import Contacts, Events, draw_history, draw_kinds
from simulation.news import NewsChooser, NewsDemand, draw_news
from simulation.settings import KINDS, WorldSettings


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """An item at its launch.

    entry:    its row of the catalogue, columns of `ITEM_SCHEMA`.
    interest: f64[users], share of a user's interests in the type that are the item's topic now;
        0 for who does not use the type yet or lives in a market of another language.
    alike:    i64[m], rows of the catalogue with the item's topic, type and language.
    """

    entry: dict[str, Any]
    interest: npt.NDArray[np.float64]
    alike: npt.NDArray[np.int64]


def look_up(
    items: Items, audience: Audience, row: int, entry: dict[str, Any], time_ms: int
) -> Newcomer:
    """Return what the world knows of an item by row, beside the entry that people see."""
    users, interests = len(audience), audience.interest_weight.shape[1]
    of_type = np.full(users, items.type_row[row])
    everyone, now = np.arange(users), np.full(users, time_ms)
    interest = np.zeros(users)
    for slot in range(interests):
        topic, _ = audience.interests_at(everyone, of_type, np.full(users, slot), now)
        interest += audience.interest_weight[:, slot] * (topic == items.topic[row])
    uses = (audience.activity[everyone, of_type] > 0) & (
        audience.since_ms[everyone, of_type] <= time_ms
    )
    interest[~uses | (audience.language != items.language[row])] = 0.0
    alike = (
        (items.topic == items.topic[row])
        & (items.type_row == items.type_row[row])
        & (items.language == items.language[row])
        & (items.published_ms <= time_ms)
    )
    return Newcomer(entry=entry, interest=interest, alike=np.flatnonzero(alike))


EVENT_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("kind", pa.string()),
        ("timestamp", pa.int64()),
    ]
)

STEP_MS = 1_000
"""Length of one step of live traffic."""

LIVE_RETURNS = 0.45
"""Share of live events that come back to an item met before (as in the default history). Articles
are not come back to."""


@dataclass(frozen=True, kw_only=True)
class LiveStep:
    """One step of live traffic.

    time_ms:  start of the step, ms UTC.
    launches: items published in this step, columns of `ITEM_SCHEMA`, `published_at` = time_ms.
    events:   events of this step in order of time, columns of `EVENT_SCHEMA`.
    """

    time_ms: int
    launches: pa.RecordBatch
    events: pa.RecordBatch


class World:
    """A world drawn from a seed: the same settings and seed give the same bytes.

    What is drawn is kept; `live` can be called any number of times and
    always starts from the end of the same past.
    """

    def __init__(self, settings: WorldSettings, seed: int = 0) -> None:
        """Draw catalogue and audience; texts and history are drawn when first asked for."""
        self.settings, self.seed = settings, seed
        self._items: Items = draw_items(settings, self._rng("items"))
        self._audience: Audience = draw_audience(settings, self._rng("audience"))
        self._news: NewsDemand | None = None
        if settings.news is not None:
            self._news = draw_news(settings, settings.news, self._items, self._rng("news"))
        self._chooser = self._chooser_of(self._items)

    def catalogue(self) -> pa.Table:
        """All items published by the end of the history. Columns of `ITEM_SCHEMA`."""
        return self._described.slice(0, self.settings.items)

    def users(self) -> pa.Table:
        """All users. Columns user_id, country, birth_year."""
        return self._audience.table(self.settings)

    def history(self, *, batch_rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The events of the last `settings.days` days, in order of time, in `EVENT_SCHEMA`."""
        events = self._past[1]
        for start in range(0, len(events), batch_rows):
            rows = slice(start, start + batch_rows)
            yield self._batch(
                events.user[rows], events.item[rows], events.kind[rows], events.time_ms[rows]
            )

    def live(
        self, rate: float, start_ms: int, seconds: float, *, launches: int = 0, seed: int = 0
    ) -> Iterator[LiveStep]:
        """Traffic of the same users after the past: `rate` events/s of simulated time.

        launches: how many of the reserved items appear, evenly spread over the span. Events on
            an item begin in the step after its launch.
        seed: another seed gives another future of the same past.
        Raises ValueError when more launches are asked for than items are reserved.
        """
        if launches > self.settings.reserve:
            raise ValueError(
                f"at most {self.settings.reserve} items are reserved for launches, "
                f"got {launches}: raise WorldSettings.reserve"
            )
        return self._live(rate, start_ms, seconds, launches, self._rng("live", seed))

    def affinity(
        self, user_ids: Sequence[str], item_type: str, time_ms: int
    ) -> npt.NDArray[np.float64]:
        """What a perfect recommender would know, f64[users, rows of `catalogue`].

        The true probability that a user's next first contact with the type is an item, before
        what the user has met already is taken out.
        """
        users = np.array([int(name.rpartition("-")[2]) for name in user_ids], dtype=np.int64)
        type_row = self.settings.item_types.index(item_type)
        return self._chooser.affinity(users, type_row, time_ms)[:, : self.settings.items]

    def newcomer(self, place: int, time_ms: int) -> Newcomer:
        """Return one of the `settings.reserve` items held back, as if it were launched now.

        Raises IndexError for a place that is not reserved.
        """
        if not 0 <= place < self.settings.reserve:
            raise IndexError(f"expected a place below {self.settings.reserve}, got {place}")
        row = self.settings.items + place
        entry = self._launch(np.array([row]), time_ms).to_pylist()[0]
        return look_up(self._items, self._audience, row, entry, time_ms)

    @cached_property
    def _described(self) -> pa.Table:
        return describe(self._items, self.settings, self._rng("text"))

    @cached_property
    def _past(self) -> tuple[Contacts, Events]:
        return draw_history(
            self.settings, self._items, self._audience, self._chooser, self._rng("history")
        )

    def _chooser_of(self, items: Items) -> Choosing:
        """Draws from these items, whose times of publication may change."""
        if self._news is not None:
            return NewsChooser(self.settings, items, self._audience, self._news)
        return Chooser(self.settings, items, self._audience)

    @cached_property
    def _names(self) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        described = self._described.combine_chunks()
        return (
            pa.array(self._audience.user_ids()),
            described["item_id"].combine_chunks(),
            described["item_type"].combine_chunks(),
            pa.array(KINDS),
        )

    def _rng(self, purpose: str, *more: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose.encode(), *more])

    def _batch(
        self,
        user: npt.NDArray[np.int64],
        item: npt.NDArray[np.int64],
        kind: npt.NDArray[np.int8],
        time_ms: npt.NDArray[np.int64],
    ) -> pa.RecordBatch:
        users, ids, types, kinds = self._names
        rows = pa.array(item)
        columns = [
            users.take(pa.array(user)),
            ids.take(rows),
            types.take(rows),
            kinds.take(pa.array(kind)),
            pa.array(time_ms),
        ]
        return pa.record_batch(columns, schema=EVENT_SCHEMA)

    def _live(
        self, rate: float, start_ms: int, seconds: float, launches: int, rng: np.random.Generator
    ) -> Iterator[LiveStep]:
        items = replace(self._items, published_ms=self._items.published_ms.copy())
        chooser = self._chooser_of(items)
        met = self._past[0]
        upto = np.cumsum(self._audience.activity.ravel())
        sent = launched = 0
        steps = int(np.ceil(seconds * 1_000 / STEP_MS))
        for step in range(steps):
            now = start_ms + step * STEP_MS
            due = self.settings.items + np.arange(launched, launches * (step + 1) // steps)
            launched += len(due)
            wanted = int(rate * (step + 1) * STEP_MS / 1_000)
            time_ms = now + np.sort(rng.integers(STEP_MS, size=wanted - sent))
            sent = wanted
            user, item, kind = self._live_events(chooser, met, upto, time_ms, rng)
            items.published_ms[due] = now
            yield LiveStep(
                time_ms=now,
                launches=self._launch(due, now),
                events=self._batch(user, item, kind, time_ms),
            )

    def _live_events(
        self,
        chooser: Choosing,
        met: Contacts,
        upto: npt.NDArray[np.float64],
        time_ms: npt.NDArray[np.int64],
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Users, items and kinds of one step: some come back, the others meet something."""
        size = len(time_ms)
        drawn = np.searchsorted(upto / upto[-1], rng.random(size), side="right")
        user, types = np.divmod(np.minimum(drawn, len(upto) - 1), len(self.settings.item_types))
        item = chooser.choose(user, types, time_ms, rng)
        kind = draw_kinds(types, self.settings, rng)
        returns = LIVE_RETURNS if self._news is None else 0.0
        back = (item < 0) | (rng.random(size) < returns)
        again = rng.integers(len(met.user), size=size)
        user = np.where(back, met.user[again], user)
        item = np.where(back, met.item[again], item)
        return user, item, np.where(back, 0, kind).astype(np.int8)

    def _launch(self, rows: npt.NDArray[np.int64], now: int) -> pa.RecordBatch:
        described = self._described
        place = described.schema.get_field_index("published_at")
        table = described.take(pa.array(rows)).combine_chunks()
        moment = pa.array(np.full(len(rows), now, dtype=np.int64))
        columns = [column.combine_chunks() for column in table.columns]
        columns[place] = moment
        return pa.record_batch(columns, schema=described.schema)
