"""What a ranking head gains from impressions, in a simulated world that is played live.

    python -m benchmarks.shown_features --seed 1 --heads 1,2 --json var/shown-features.json

The product plays the last days of a generated world, with its mixed lists of ten counted as shown
(ADR 88). Then trainers learn from the examples that its worker wrote, a bundle every two days, with
and without the group `shown`, and rank the discoveries of the last three days. `with rates` adds to
the scores of the head without the group the logarithm of an item's rate of takes per showing, of
days that had ended a day before the question, with the best weight of the three days before.
Nothing reads what was not known at the time. Users of the world do not see lists.
"""

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.bundles.announcing import fetch_static
from agents.demand import live_popularity, take_demand
from benchmarks.machine import measured
from dynamic_layer import DemandRecord, DynamicBundle, ExampleBatch, ListSettings, Trainer
from dynamic_layer.examples.replay import PaddedExamples, joined, pad
from dynamic_layer.head.candidates import NONE
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import asked_of, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.popularity.demand import DemandReader
from segue.demo.embedded_runtime import embedded_runtime
from segue.demo.flow import DemoOptions, demo_settings
from segue.demo.material import Material, simulated
from segue.demo.one_process_steps import learn_history
from segue.demo.steps import Speed, until
from segue.feeding import event_records
from segue.screen import console, progress_bars
from segue.served.feed import Clock
from segue.settings import Settings
from simulation import WorldSettings
from static_layer import StaticBundle
from streams import LogRecord, SourceSettings

__all__ = ["ShownPlan", "run"]

END_MS = 1_760_054_400_000
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: Days between two bundles; days of the questions.
BUNDLE_DAYS, ASKED_DAYS = 2, 3
#: Showings of an average item that are added to each item's own.
SHRUNK = 20.0
K, DEEP, CHUNK = 10, 100, 64
WEIGHTS = np.linspace(-1.0, 2.0, 61)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ShownPlan:
    """What is measured: the world's size, the days that are played, seeds of world and heads."""

    items: int = 2_000
    users: int = 3_000
    events: int = 150_000
    days: int = 12
    seed: int = 1
    heads: tuple[int, ...] = (1, 2)


def run(plan: ShownPlan, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    return measured(file, partial(_measure, plan))


class _Played(NamedTuple):
    """What the product wrote, each in order of log time, and its static bundle."""

    static: StaticBundle
    examples: list[tuple[int, ExampleBatch]]
    demand: list[LogRecord]


def _measure(plan: ShownPlan, scratch: Path) -> dict[str, Any]:
    world = WorldSettings(items=plan.items, users=plan.users, events=plan.events, end_ms=END_MS)
    material = simulated(
        world, seed=plan.seed, test_days=plan.days, live_rate=0.0, live_seconds=0.0
    )
    base = Settings(
        data=str(scratch / "data"),
        sources=(SourceSettings(topic="segue.impressions", format="impressions"),),
    )
    made = demo_settings(base, material, DemoOptions(seed=plan.seed))
    mix = ListSettings(name="mix", k=K)
    worker = replace(made.worker, lists=(mix,), shown_lists=("mix",), answer_pause_ms=1)
    settings = replace(made, worker=worker)
    settings.folder.mkdir(parents=True)
    played = asyncio.run(_play(settings, material, plan.seed, scratch))
    found = {}
    for seed in plan.heads:
        heads = {name: _ranks(settings, played, seed, shown=name == "with shown")
                 for name in ("without", "with shown")}  # fmt: skip
        found[str(seed)] = _compared(heads["without"], heads["with shown"])
        console.print(seed, found[str(seed)], highlight=False)
    rates = _Rates(played.demand, settings.state.window.bucket_ms)
    shown, taken = rates.totals
    return {"world": plan.seed, "shown": shown, "taken": taken, "heads": found}


async def _play(settings: Settings, material: Material, seed: int, scratch: Path) -> _Played:
    """Learn the history, then feed the rest hour by hour; workers list after each hour."""
    clock, names = Clock(material.split_ms), settings.topics
    with progress_bars() as bars:
        async with embedded_runtime(settings, "shown", clock) as runtime:
            bundle = await learn_history(runtime, material, seed, bars, Speed())
            await until(runtime, lambda: runtime.serves(bundle.generation), "nothing is served")
            events = material.part("test")
            times, fed = events["timestamp"].to_numpy(), 0
            task = bars.add_task("play", total=len(times), note="")
            for moment in range(material.split_ms + HOUR_MS, END_MS + HOUR_MS, HOUR_MS):
                await runtime.between_answers()
                clock.ms = moment
                end = int(np.searchsorted(times, moment))
                batches = events.slice(fed, end - fed).to_arrow().to_batches()
                await runtime.write(names.events, event_records(batches), lambda _: None)
                await runtime.settled()
                fed = end
                bars.update(task, completed=fed)
            await runtime.between_answers()
            await runtime.settled()
            records = await runtime.read(names.examples, {})
            demand = await runtime.read(names.demand, {})
    store = settings.store()
    static = fetch_static(store, store.names("static")[-1], scratch / "static")
    batches_of = [
        (one.timestamp, ExampleBatch.unpack(one.value or b""))
        for one in sorted(records, key=lambda one: one.timestamp)
        if (one.value or b"")[:4] == b"SGEX"
    ]
    return _Played(static, batches_of, demand)


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """The candidates of questions and what a head makes of them.

    scores, rates: f64 [c] each, -inf where there is none; target: place in the list, -1: none.
    """

    scores: Floats
    rates: Floats
    target: int


def _ranks(settings: Settings, played: _Played, seed: int, *, shown: bool) -> dict[str, Any]:
    """Return lists of the last days and of as many days before, by bundles of those days."""
    dynamic = settings.dynamic
    if not shown:
        dynamic = replace(dynamic, ranking=replace(dynamic.ranking, shown_half_lives_days=()))
    live = live_popularity(settings.state)
    take_demand(live, played.demand)
    rates = _Rates(played.demand, settings.state.window.bucket_ms)
    trainer = Trainer(played.static, dynamic, seed=seed, ranking=True, live=live)
    cut = END_MS - 2 * ASKED_DAYS * DAY_MS
    moments = [*range(played.examples[0][0], END_MS, BUNDLE_DAYS * DAY_MS), END_MS]
    lists: dict[str, list[_Lists]] = defaultdict(list)
    bundle, at = None, 0
    for moment in moments:
        new = []
        while at < len(played.examples) and played.examples[at][0] <= moment:
            new.append(played.examples[at][1])
            at += 1
        if bundle is not None and moment > cut and new:
            asked = _discoveries(new, dynamic.replay.history_cap, dynamic.replay.whole_history)
            for when, one in _made(bundle, asked, live, rates):
                if when >= cut:
                    lists["asked" if when >= END_MS - ASKED_DAYS * DAY_MS else "before"].append(one)
        for batch in new:
            trainer.add(batch)
        trainer.train()
        bundle = trainer.publish()
    return {"lists": lists, "reads": bundle is not None and bundle.head is not None
            and any("shown" in name for name in bundle.head.names)}  # fmt: skip


def _discoveries(batches: Sequence[ExampleBatch], cut: int, most: int) -> PaddedExamples:
    """Return the examples whose targets are new to their users and whose histories are whole."""
    every = joined([pad(batch, most, number) for number, batch in enumerate(batches)])
    kept = every.strong & ~every.repeat & (every.length != cut)
    return every.take(np.flatnonzero(kept))


def _made(
    bundle: DynamicBundle, examples: PaddedExamples, live: Any, rates: "_Rates"
) -> Iterator[tuple[int, _Lists]]:
    settings = ranking_settings(bundle)
    if settings is None or bundle.head is None:
        raise ValueError("expected a bundle with a head; towers rank better here: take more events")
    reads = any("shown" in name for name in bundle.head.names)
    maker, rows = ListMaker(bundle, settings, shown=reads), ItemRows(bundle.item_keys)
    demand = DemandReader(live, rows, len(bundle.item_keys), settings.demand_half_lives_days)
    types, target = bundle.features.type_number.numpy(), rows(examples.target)
    known = np.flatnonzero(target >= 0)
    order = known[np.argsort(examples.timestamp[known], kind="stable")]
    hours = examples.timestamp[order] // live.bucket_ms
    for group in np.split(order, np.flatnonzero(np.diff(hours)) + 1):
        for begin in range(0, len(group), CHUNK):
            part = group[begin : begin + CHUNK]
            asked = asked_of(bundle, examples.take(part), rows)
            at = demand.at(int(examples.timestamp[part].min()))
            found = maker.propose(asked, types[target[part]], at)
            scores = bundle.head.scores(found.values.features(), found.rows != NONE).astype(
                np.float64
            )
            for n, place in enumerate(part.tolist()):
                when, own = int(examples.timestamp[place]), found.rows[n]
                rate = rates(bundle.item_keys[np.maximum(own, 0)], when)
                hit = np.flatnonzero(own == target[place])
                yield when, _Lists(
                    scores=np.where(own == NONE, -np.inf, scores[n]), rates=rate,
                    target=int(hit[0]) if len(hit) else -1,
                )  # fmt: skip


class _Rates:
    """Takes per showing of items on days that had ended a day before a moment."""

    def __init__(self, records: Sequence[LogRecord], bucket_ms: int) -> None:
        self._bucket_ms = bucket_ms
        newest: dict[tuple[str, int, int, int], DemandRecord] = {}
        for record in records:
            found = DemandRecord.unpack(record.value or b"")
            if found.counts_of != "demand":
                place = (found.counts_of, found.bucket, found.partition, found.part)
                if place not in newest or newest[place].records <= found.records:
                    newest[place] = found
        self._records = list(newest.values())
        self._known: dict[int, tuple[NDArray[np.uint64], Floats, float]] = {}

    @property
    def totals(self) -> tuple[int, int]:
        """How often items were shown, and taken of it."""
        found = {"shown": 0, "taken": 0}
        for one in self._records:
            found[one.counts_of] += int(one.counts.sum())
        return found["shown"], found["taken"]

    def __call__(self, keys: NDArray[np.uint64], at_ms: int) -> Floats:
        """Return the logarithm of each item's rate over that of all, f64 [n]."""
        bucket = (at_ms - DAY_MS) // self._bucket_ms
        if bucket not in self._known:
            self._known[bucket] = self._counted(bucket)
        own, counts, base = self._known[bucket]
        place = np.minimum(np.searchsorted(own, keys), max(len(own) - 1, 0))
        shown, taken = np.zeros(len(keys)), np.zeros(len(keys))
        if len(own):
            there = own[place] == keys
            shown[there], taken[there] = counts[:, place[there]]
        return np.asarray(np.log((taken + SHRUNK * base) / (shown + SHRUNK) / base))

    def _counted(self, bucket: int) -> tuple[NDArray[np.uint64], Floats, float]:
        mine = [one for one in self._records if one.bucket < bucket]
        own = np.unique(np.concatenate([np.zeros(0, np.uint64), *(one.keys for one in mine)]))
        counts = np.zeros((2, len(own)))
        for one in mine:
            np.add.at(counts[int(one.counts_of == "taken")], np.searchsorted(own, one.keys),
                      one.counts)  # fmt: skip
        return own, counts, (counts[1].sum() + 1.0) / (counts[0].sum() + 100.0)


def _compared(without: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    best = max(WEIGHTS, key=lambda weight: _log_chance(without["lists"]["before"], weight))
    asked = without["lists"]["asked"]
    arms = {
        "without": _places(asked, 0.0),
        "with shown": _places(shown["lists"]["asked"], 0.0),
        "with rates": _places(asked, float(best)),
    }
    found: dict[str, Any] = {"questions": len(asked), "weight_of_rates": round(float(best), 3),
                             "reads_shown": shown["reads"]}  # fmt: skip
    for name, places in arms.items():
        hits, reciprocal = places < K, np.where(places < DEEP, 1.0 / (1 + places), 0.0)
        found[name] = {"hr_at_10": round(float(hits.mean()), 4),
                       "mrr": round(float(reciprocal.mean()), 4)}  # fmt: skip
        if name != "without":
            base = arms["without"]
            apart = hits.astype(float) - (base < K)
            deep = reciprocal - np.where(base < DEEP, 1.0 / (1 + base), 0.0)
            error = np.sqrt(len(places))
            found[name] |= {
                "hr_difference": round(float(apart.mean()), 4),
                "hr_error": round(float(apart.std() / error), 4),
                "mrr_difference": round(float(deep.mean()), 4),
                "mrr_error": round(float(deep.std() / error), 4),
            }
    return found


def _places(lists: Sequence[_Lists], weight: float) -> NDArray[np.int64]:
    """Return how many candidates stand before each target; many where it is none."""
    found = []
    for one in lists:
        scores = one.scores + weight * one.rates
        found.append(int((scores > scores[one.target]).sum()) if one.target >= 0 else 1_000_000)
    return np.array(found, np.int64)


def _log_chance(lists: Sequence[_Lists], weight: float) -> float:
    total = 0.0
    for one in lists:
        if one.target >= 0:
            scores = one.scores + weight * one.rates
            total += scores[one.target] - np.logaddexp.reduce(scores)
    return float(total)


def main() -> None:
    """Read the arguments and measure."""
    plan = ShownPlan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shown_features")
    for name in ("items", "users", "events", "days", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name))
    parser.add_argument("--heads", default="1,2")
    parser.add_argument("--json", type=Path, default=Path("var/shown-features.json"))
    given = vars(parser.parse_args())
    file = given.pop("json")
    given["heads"] = tuple(int(one) for one in given["heads"].split(","))
    console.print_json(json.dumps(run(ShownPlan(**given), file)))


if __name__ == "__main__":
    main()
