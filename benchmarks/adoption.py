"""What taking up a new static bundle costs: HR@10 just after the switch against just before.

The static job is run at several moments, each time on all events before it. Some hours later, when
such a job would be done, a trainer goes over to it. The bundles before and after are asked about
the same later events, each with its history before it, among all items of its type that the user
does not have. Every arm goes its own way from switch to switch, learning from each event once it
was asked about; one never switches.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.machine import cpu_model
from dynamic_layer import AdoptionSettings, DynamicSettings, ExampleBatch, Trainer
from dynamic_layer.examples.replay import pad
from dynamic_layer.measure.held_out import target_hits
from evaluation.dataset import Dataset, Interactions, dataset_of, read_dataset
from evaluation.item_graph import co_interactions, item_keys
from evaluation.reproduction.models import Bench, People
from evaluation.reproduction.worlds import SIMULATED, plan_of
from evaluation.split import DAY_MS
from evaluation.text import TextVectors
from segue.screen import console
from segue.static_trial import catalogue_of
from simulation import World, WorldSettings
from state import MergedState, StateSettings
from static_layer import Progress, StaticBundle, TextSettings, build

__all__ = ["ARMS", "AdoptionPlan", "run", "show"]

STAY = "stay"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of switching.

    adoption: what the trainer does; least: held-out examples below which popularity's weight stays.
    warm_start, keep: what the static job does (StaticSettings).
    """

    adoption: AdoptionSettings = field(default_factory=AdoptionSettings)
    least: int = 256
    warm_start: bool = False
    keep: float = 0.0


_SWAP = AdoptionSettings(align=False, follow_steps=0)
_ALIGN = AdoptionSettings(follow_steps=0)
ARMS = {
    "swap": Way(adoption=_SWAP),
    "align": Way(adoption=_ALIGN),
    "follow": Way(adoption=AdoptionSettings(align=False)),
    "align, follow": Way(),
    "relearn": Way(adoption=replace(_SWAP, relearn=True)),
    "align, relearn": Way(adoption=replace(_ALIGN, relearn=True)),
    "align, popularity fitted": Way(adoption=_ALIGN, least=0),
    "relearn, popularity fitted": Way(adoption=replace(_SWAP, relearn=True), least=0),
    "warm, align": Way(adoption=_ALIGN, warm_start=True),
    "warm, align, follow": Way(warm_start=True),
    "warm, kept, align": Way(adoption=_ALIGN, warm_start=True, keep=0.5),
    "warm, kept, align, follow": Way(warm_start=True, keep=0.5),
}
_DRAWS = 2_000  # of the bootstrap
_ITEMS, _USERS, _EVENTS = 2_000, 6_000, 300_000  # as in `segue reproduce`


@dataclass(frozen=True, kw_only=True)
class AdoptionPlan:
    """What is measured. Times are days since the data's first event.

    world:    `simulated` (a world of its own for each seed) or the name of a real data set.
    data:     folder of the real ones.
    seeds:    of world, HGNN and towers.
    first:    the first HGNN has the events before; the examples begin here.
    snapshot: the second one has the events before; those that follow it are made `every` days.
    switches: how many.
    lag:      from the snapshot to the switch: how long the static job takes.
    arms:     ways of switching, named in ARMS.
    fresh_start: whether each HGNN has a seed of its own; else all have the run's, as
              `segue static build` does.
    """

    world: str = SIMULATED
    data: Path = Path("../shared/data")
    seeds: tuple[int, ...] = (1, 2, 3)
    first: float = 45.0
    snapshot: float = 72.0
    every: float = 3.0
    switches: int = 3
    lag: float = 0.25
    fresh_start: bool = False
    arms: tuple[str, ...] = tuple(ARMS)

    def __post_init__(self) -> None:
        """Raise ValueError for an arm that there is none of."""
        if unknown := set(self.arms) - set(ARMS):
            raise ValueError(f"expected arms of {list(ARMS)}, got {sorted(unknown)}")


class _Timeline:
    """The events of one run, and what is made of them by time."""

    def __init__(self, plan: AdoptionPlan, seed: int, texts: Path, progress: Progress) -> None:
        self.plan, self.seed = plan, seed
        self.dataset, people = _world(plan, seed)
        self.events = self.dataset.events
        self.texts = TextVectors(self.dataset.items, TextSettings(cache=str(texts)), progress)
        self.made: dict[tuple[int, bool, float], StaticBundle] = {}
        self.start_ms = int(self.events.timestamp.min())
        self.bench = Bench(
            self.dataset, self.texts(), at_ms=int(self.events.timestamp.max()) + 1,
            people=people, progress=progress,
        )  # fmt: skip
        self.cap = DynamicSettings().replay.history_cap

    def _moment(self, day: float) -> int:
        return self.start_ms + round(day * DAY_MS)

    def static(self, number: int, way: Way) -> StaticBundle:
        """The static bundle of a snapshot, 0 the first one, as a way of switching makes them."""
        key = (number, way.warm_start and number > 0, way.keep if number else 0.0)
        if key not in self.made:
            self.made[key] = self._built(number, way)
        return self.made[key]

    def _built(self, number: int, way: Way) -> StaticBundle:
        plan = self.plan
        day = plan.snapshot + (number - 1) * plan.every if number else plan.first
        end = int(np.searchsorted(self.events.timestamp, self._moment(day)))
        place = np.arange(len(self.events))
        streams = self.events.where((place < end) & self.events.strong)
        merged = MergedState(
            co_interactions=co_interactions(streams, item_keys(self.dataset)),
            catalogue=catalogue_of(self.dataset),
            offsets={"events": {0: end}},
            watermark=-1,
            settings=StateSettings(),
        )
        settings = replace(plan_of(plan.world).hgnn, warm_start=way.warm_start, keep=way.keep)
        encoder = self.texts.encoder()
        try:
            return build(
                merged, settings, seed=self.seed + 1_000 * number * plan.fresh_start,
                last=self.static(number - 1, way) if number else None, encoder=encoder,
            )  # fmt: skip
        finally:
            encoder.close()

    def examples(self, begin: float, end: float) -> ExampleBatch:
        """The events between two days as examples."""
        first, last = np.searchsorted(
            self.events.timestamp, [self._moment(begin), self._moment(end)]
        )
        past = Interactions(
            user=self.events.user[:last], item=self.events.item[:last],
            timestamp=self.events.timestamp[:last], strong=self.events.strong[:last],
        )  # fmt: skip
        return self.bench.examples(past, int(first), self.cap)

    def user_of(self, batch: ExampleBatch) -> NDArray[np.int64]:
        """Whose events these are, i64 [b]."""
        return self.events.user[batch.offset]


def _world(plan: AdoptionPlan, seed: int) -> tuple[Dataset, People]:
    if plan.world != SIMULATED:
        folder = plan.data / plan.world
        dataset = read_dataset(folder / "events.parquet", folder / "items.parquet")
        return dataset, People.unknown(len(dataset.users))
    drawn = World(WorldSettings(items=_ITEMS, users=_USERS, events=_EVENTS, reserve=10), seed=seed)
    events = pl.DataFrame(pa.Table.from_batches(list(drawn.history())))
    dataset = dataset_of(events, pl.DataFrame(drawn.catalogue()))
    return dataset, People.unknown(len(dataset.users))


def _settings(arm: str) -> DynamicSettings:
    settings = DynamicSettings()
    way = ARMS.get(arm, Way())
    popularity = replace(settings.popularity, min_examples=way.least)
    return replace(settings, adoption=way.adoption, popularity=popularity)


def _switches(line: _Timeline) -> Iterator[dict[str, Any]]:
    """Yield by switch and arm: HR@10 before and after, and both by user."""
    plan, first = line.plan, line.static(0, Way())
    names = [STAY, *plan.arms]
    trainers = {name: Trainer(first, _settings(name), seed=line.seed) for name in names}
    begun, until = plan.first, plan.snapshot + plan.lag
    common = trainers[STAY]
    common.add(line.examples(begun, until))
    common.train()
    bundles = {STAY: common.publish()}
    for name in plan.arms:  # what they have in common was learned once
        _carry_on(trainers[name], common)
        bundles[name] = bundles[STAY]
    for switch in range(plan.switches):
        day = plan.snapshot + switch * plan.every
        coming = line.examples(day + plan.lag, day + plan.lag + plan.every)
        asked = coming.take(coming.strong & ~coming.repeat)
        tested, users = pad(asked, line.cap, 0), line.user_of(asked)
        for name in names:
            before = target_hits(bundles[name], tested)
            trainer, examples = trainers[name], 0
            if name != STAY:
                trainer.adopt(line.static(switch + 1, ARMS[name]))
                examples = trainer.train().examples
            bundles[name] = trainer.publish()
            after = target_hits(bundles[name], tested)
            yield {
                "seed": line.seed, "switch": switch + 1, "arm": name, "tests": len(asked),
                "relearned": examples, "before": float(before.mean()), "after": float(after.mean()),
                "weight": bundles[name].manifest["popularity"]["weight"],
                "held_out": len(trainer.holdout()),
                "by_user": _by_user(users, before, after, len(line.dataset.users)),
            }  # fmt: skip
            if switch + 1 < plan.switches:
                trainer.add(coming)
                trainer.train()
                bundles[name] = trainer.publish()


def _carry_on(trainer: Trainer, other: Trainer) -> None:
    """Have a fresh trainer go on where another one is."""
    for name, memory in trainer.memories.items():
        held = other.memories[name]
        examples = held.take(held.numbers())
        memory.restore(held.written - len(held), [examples], held.numbered)
    trainer.restore(other.saved())


def _by_user(
    users: NDArray[np.int64], before: NDArray[np.bool_], after: NDArray[np.bool_], n: int
) -> NDArray[np.float64]:
    """Return tests, hits before and hits after of each user who was tested, f64 [m, 3]."""
    sums = np.stack(
        [
            np.bincount(users, weight, minlength=n)
            for weight in (np.ones(len(users)), before, after)
        ],
        axis=1,
    )
    return np.asarray(sums[sums[:, 0] > 0])


def _change(parts: Sequence[NDArray[np.float64]], seed: int) -> dict[str, Any]:
    """Return the change of HR@10 with its 95 % interval, by a bootstrap over users."""
    sums = np.concatenate(parts)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_DRAWS) @ sums
    change = drawn[:, 2] / drawn[:, 1] - 1
    tests, before, after = sums.sum(axis=0)
    return {
        "tests": int(tests),
        "before": before / tests,
        "after": after / tests,
        "change": after / before - 1,
        "ci": [float(bound) for bound in np.quantile(change, (0.025, 0.975))],
    }


def run(plan: AdoptionPlan, file: Path, progress: Progress) -> dict[str, Any]:
    """Measure on one thread; the report is in `file` after each seed."""
    torch.set_num_threads(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for seed in plan.seeds:
        rows += _switches(_Timeline(plan, seed, file.parent / "text.db", progress))
        report = {
            "machine": cpu_model(),
            "plan": asdict(plan) | {"data": str(plan.data)},
            "arms": [_arm(name, rows) for name in (STAY, *plan.arms)],
            "rows": [{k: v for k, v in row.items() if k != "by_user"} for row in rows],
        }
        file.write_text(json.dumps(report, indent=1))
    return report


def _arm(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of an arm over all seeds and switches, whose users count each."""
    mine = [row for row in rows if row["arm"] == name]
    changes = [row["after"] / row["before"] - 1 for row in mine]
    return {
        "arm": name, **_change([row["by_user"] for row in mine], seed=0), "worst": min(changes),
        "changes": changes,
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    plan = report["plan"]
    table = Table(title=f"a new static bundle, {plan['world']}, seeds {plan['seeds']}")
    for name in ("arm", "tests", "HR@10 before", "just after", "change", "95 %", "worst switch"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for arm in report["arms"]:
        low, high = arm["ci"]
        table.add_row(
            arm["arm"], f"{arm['tests']:,}", f"{arm['before']:.4f}", f"{arm['after']:.4f}",
            f"{arm['change']:+.1%}", f"{low:+.1%} to {high:+.1%}", f"{arm['worst']:+.1%}",
        )  # fmt: skip
    console.print(table)
