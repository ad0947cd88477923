"""A simulated world with a trained bundle, new items in it, and one day of its users."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agents.bundles.announcing import fetch_dynamic
from dynamic_layer import (
    DynamicBundle,
    InForce,
    ListSettings,
    NewItems,
    Policies,
    Policy,
    Ranking,
    Recommender,
    UserState,
    rules_of,
)
from segue.demo.embedded_runtime import embedded_runtime
from segue.demo.flow import DemoOptions, demo_settings
from segue.demo.judge import Histories
from segue.demo.material import Material, simulated
from segue.demo.steps import Speed, ingest, make_static, rested_bundle, until, write_world
from segue.roles import make_encoder
from segue.screen import StageBars, progress_bars
from segue.settings import Settings
from simulation import Newcomer, World, WorldSettings
from state import ShownItems, item_key
from static_layer import catalogue_texts

__all__ = ["END_MS", "MIX", "Arm", "Counts", "Days", "Ready", "ready"]

END_MS = 1_760_054_400_000
DAY_MS = 86_400_000
MIX = ListSettings(name="mix")
BATCH = 32
#: Times are multiplied by this.
STRETCH = 100


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A world at the end of its history, and what workers would serve.

    fresh: items that are launched now, and what a recommender needs of them.
    """

    world: World
    bundle: DynamicBundle
    histories: Histories
    launched: list[Newcomer]
    fresh: NewItems

    def recommender(self, rules: Mapping[str, Any] | None, counts: "Counts") -> Recommender:
        """Return a recommender under a policy of the mixed list; it knows no launched item yet."""
        in_force = InForce()
        catalogue = self.world.catalogue()
        names = zip(*(catalogue[n].to_pylist() for n in ("item_type", "item_id")), strict=True)
        in_force.columns.put(
            [item_key(*name) for name in names],
            [{"published_at": at} for at in catalogue["published_at"].to_pylist()],
        )
        if rules is not None:
            in_force.policies = Policies(by_list={"mix": Policy.of(rules_of(rules))})
        return Recommender(self.bundle, shown=counts, in_force=in_force)  # type: ignore[arg-type]

    def launch(self, recommender: Recommender, place: int, time_ms: int, **more: Any) -> None:
        """Have a launched item in a recommender, as a record of the catalogue does."""
        own, new = slice(place, place + 1), self.fresh
        if recommender.in_force is None:
            raise ValueError("expected a recommender with policies")
        recommender.in_force.columns.put(
            new.item_keys[own].tolist(), [{"published_at": time_ms, **more}]
        )
        recommender.add_items(NewItems(
            item_keys=new.item_keys[own], item_ids=new.item_ids[own], text=new.text[own],
            item_types=new.item_types[own], languages=new.languages[own], genres=new.genres[own],
        ))  # fmt: skip


@contextmanager
def ready(
    settings: WorldSettings, scratch: Path, *, seed: int, launches: int, hgnn_epochs: int
) -> Iterator[Ready]:
    """Build state, static bundle and dynamic bundle of a world, on the embedded log."""
    world = World(settings, seed)
    material = simulated(settings, seed=seed, test_days=0.0, live_rate=0.0, live_seconds=0.0)
    options = DemoOptions(seed=seed, hgnn_epochs=hgnn_epochs)
    made = demo_settings(Settings(data=str(scratch / "data")), material, options)
    made.folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_build(made, material, seed))
    store = made.store()
    bundle = fetch_dynamic(store, store.names("dynamic")[-1], scratch / "bundle")
    launched = [world.newcomer(place, END_MS) for place in range(launches)]
    with closing(Histories(made, scratch / "histories")) as histories:
        yield Ready(
            world=world, bundle=bundle, histories=histories, launched=launched,
            fresh=_new_items(made, launched),
        )  # fmt: skip


async def _build(settings: Settings, material: Material, seed: int) -> None:
    async with embedded_runtime(settings, "explore", clock_ms=lambda: END_MS) as runtime:
        with progress_bars() as bars:
            speed = Speed()
            await write_world(runtime, bars, material)
            await ingest(runtime, bars, material, "graph", speed)
            await runtime.checkpoint()
            await make_static(runtime, seed, StageBars(bars))
            await ingest(runtime, bars, material, "learn", speed)
            await runtime.learn()
            bundle = await rested_bundle(runtime)
            await until(runtime, lambda: runtime.serves(bundle.generation), "nothing is served")
            await runtime.checkpoint()


def _new_items(settings: Settings, launched: Sequence[Newcomer]) -> NewItems:
    entries = [one.entry for one in launched]
    columns = ("item_type", "title", "description")
    frame = pl.DataFrame({name: [entry[name] for entry in entries] for name in columns})
    with closing(make_encoder(settings)) as encoder:
        text = encoder.encode(catalogue_texts(frame)[0])
    return NewItems(
        item_keys=np.array([item_key(e["item_type"], e["item_id"]) for e in entries], np.uint64),
        item_ids=[entry["item_id"] for entry in entries],
        item_types=[entry["item_type"] for entry in entries],
        languages=[entry["language"] for entry in entries],
        genres=[entry["genres"] for entry in entries],
        text=text,
    )


@dataclass
class Counts:
    """How often items were shown and taken, by key: what workers are told."""

    shown: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    taken: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def of(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return both, i64 [n] each."""
        found = [(self.shown[key], self.taken[key]) for key in keys.tolist()]
        shown, taken = np.array(found, np.int64).reshape(-1, 2).T
        return shown, taken


@dataclass(kw_only=True)
class Arm:
    """What one policy did in two days.

    asked, reached: by launched item, users who had a list within a day of its launch, and one with
    the item. hits: of questions, which were hit: the next stream of an item that is new to the
    user, and the newest list. lists: (user row, item keys). explored: (user row, item key, key of
    the item that stood there) of explored places.
    """

    asked: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    reached: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    hits: list[bool] = field(default_factory=list)
    lists: list[tuple[int, list[int]]] = field(default_factory=list)
    explored: list[tuple[int, int, int]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


class Days:
    """The events of two days: users choose as the world has it, whatever their lists hold.

    Items are launched evenly; those of the first day are watched for a day each.
    """

    def __init__(self, made: Ready, events_a_day: int, seed: int) -> None:
        """Draw the events. The world's steps of a second are stretched: few events lie in one."""
        self._made = made
        launches = len(made.launched)
        steps = made.world.live(
            events_a_day / DAY_MS * 1_000 * STRETCH, END_MS, 2 * DAY_MS / 1_000 / STRETCH,
            launches=launches, seed=seed,
        )  # fmt: skip
        self.launched_ms: list[int] = []
        self.users: list[int] = []
        self.keys: list[int] = []
        self.times: list[int] = []
        self.strong: list[bool] = []
        for step in steps:
            at = END_MS + (step.time_ms - END_MS) * STRETCH
            self.launched_ms += [at] * step.launches.num_rows
            rows = step.events.to_pydict()
            self.users += [int(name.rpartition("-")[2]) for name in rows["user_id"]]
            names = zip(rows["item_type"], rows["item_id"], strict=True)
            self.keys += [item_key(*name) for name in names]
            self.times += [END_MS + (time - END_MS) * STRETCH for time in rows["timestamp"]]
            self.strong += [kind == "stream" for kind in rows["kind"]]
        self._names = made.world.users()["user_id"].to_pylist()

    @property
    def watched(self) -> list[int]:
        """Launched items that are seen for a whole day."""
        return [n for n, at in enumerate(self.launched_ms) if at <= END_MS + DAY_MS]

    def run(self, rules: Mapping[str, Any] | None) -> Arm:
        """Make each user's list after each event."""
        arm = Arm()
        recommender = self._made.recommender(rules, arm.counts)
        fresh = {key: n for n, key in enumerate(self._made.fresh.item_keys.tolist())}
        states: dict[int, UserState] = {}
        newest: dict[int, list[int]] = {}
        shown: defaultdict[int, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        there = 0
        for begin in range(0, len(self.users), BATCH):
            part = range(begin, min(begin + BATCH, len(self.users)))
            now = self.times[part[-1]]
            while there < len(self.launched_ms) and self.launched_ms[there] <= now:
                self._made.launch(recommender, there, self.launched_ms[there])
                there += 1
            for n in part:
                self._listen(n, states, newest, arm)
            who = list(dict.fromkeys(self.users[n] for n in part))
            asked = [replace(states[user], shown=_shown(shown[user])) for user in who]
            answers = recommender.recommend(asked, [MIX], now)
            young = [n for n, at in enumerate(self.launched_ms) if at <= now < at + DAY_MS]
            for user, answer in zip(who, answers, strict=True):
                keys = recommender.keys[list(answer["mix"].rows)].tolist()
                newest[user] = keys
                arm.lists.append((user, keys))
                arm.explored += _explored(recommender, user, answer["mix"], keys)
                for n in young:
                    arm.asked[n].add(user)
                for key in keys:
                    shown[user][key] += 1
                    arm.counts.shown[key] += 1
                    if fresh.get(key) in young:
                        arm.reached[fresh[key]].add(user)
        return arm

    def _listen(
        self, n: int, states: dict[int, UserState], newest: dict[int, list[int]], arm: Arm
    ) -> None:
        user, key, strong = self.users[n], self.keys[n], self.strong[n]
        state = states.get(user) or self._made.histories(self._names[user])
        same = state.history_item == np.uint64(key)
        if strong and user in newest and not same.any():
            hit = key in newest[user]
            arm.hits.append(hit)
            arm.counts.taken[key] += hit
        strong = strong or bool(state.history_strong[same].any())
        states[user] = replace(
            state,
            history_item=np.append(np.uint64(key), state.history_item[~same]),
            history_time=np.append(self.times[n], state.history_time[~same]),
            history_strong=np.append(strong, state.history_strong[~same]),
            history_known=None,
            history_strong_time=None,
        )


def _shown(counts: Mapping[int, int]) -> ShownItems:
    return ShownItems(
        items=np.array([*counts], np.uint64),
        begin=np.full(len(counts), END_MS),
        count=np.array([*counts.values()], np.int64),
    )


def _explored(
    recommender: Recommender, user: int, ranking: Ranking, keys: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    for one in ranking.explored:
        if one.new and one.options.instead >= 0:
            yield user, keys[one.place], int(recommender.keys[one.options.instead])
