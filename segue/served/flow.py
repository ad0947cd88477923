"""Runs a data set through the product and returns the lists that it wrote.

    events before the split -> worker, static job, worker, trainer, gate     (once for each seed)
    requests at the split -> recommendations topic                           (frozen)
    events after the split, a request before each question -> the topic      (live)

The roles run on the embedded log, and their time is that of the data. Lists with and without the
head come of the same bundle: each arm starts from a copy of the log, the state and the artifacts.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agents.bundles.announcements import announcement_of
from agents.bundles.announcing import described
from dynamic_layer import DynamicSettings
from evaluation.dataset import Dataset
from evaluation.prequential.stream import HOUR_MS, Questions
from evaluation.scalars import Reads, scalars
from evaluation.trial import Trial
from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.embedded_steps import learn_history
from segue.demo.material import Material
from segue.demo.settings import in_one_folder, spanning
from segue.demo.steps import Speed, until
from segue.folders import text_cache, text_models
from segue.screen import Bars
from segue.served.feed import (
    Clock,
    Reader,
    Served,
    frozen_lists,
    lists_of,
    live_lists,
    material_of,
)
from segue.served.learning import FROZEN, LEARNERS, learning_settings, learning_times
from segue.settings import Settings
from static_layer import StaticBundle

__all__ = ["Arm", "Outcome", "arms_of", "run_served"]

#: Pause of a reader at the end of its topic, in seconds: a question waits for several in turn.
IDLE_S = 0.002


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One variant of the product.

    head: workers rank with it. reads: what stands beside the text vectors; `text` for nothing,
    `control` for two scalars, which tell what of a gain is no more than popularity.
    learn: when the trainer learns while the test is played, of `LEARNERS`; by default never.
    """

    head: bool = True
    reads: Reads = "hgnn"
    learn: str = FROZEN

    @property
    def name(self) -> str:
        """Name of its rows."""
        head = "" if self.head else " without head"
        return (
            "segue"
            + ("" if self.learn == FROZEN else f" {self.learn}")
            + head
            + {"hgnn": "", "text": " without hgnn", "control": " with scalars"}[self.reads]
        )


_WITHOUT = {
    "head": Arm(head=False),
    "hgnn": Arm(reads="text"),
    "hgnn:scalars": Arm(reads="control"),
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Lists of one arm and seed.

    live: None if the test was not played live. seconds: to learn, and to serve the lists at the
    split. published: bundles that were announced while the test was played. sent: `bundle_bytes` of
    these, each as large as the last one; `row_deltas`, and their `row_bytes`.
    """

    arm: Arm
    seed: int
    generation: int
    frozen: Served
    live: Served | None
    seconds: float
    published: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)


def arms_of(names: Sequence[str], learn: Sequence[str] = ()) -> list[Arm]:
    """Return the arms of a run: the product, without each part, with each learner.

    Raises ValueError for an unknown part or learner.

    >>> [arm.name for arm in arms_of(["head"], ["frozen", "hourly"])]
    ['segue', 'segue without head', 'segue hourly']
    """
    unknown = [name for name in names if name not in _WITHOUT]
    if unknown:
        known = ", ".join(_WITHOUT)
        raise ValueError(f"expected parts to leave out of {known}; got {', '.join(unknown)}")
    if unknown := [name for name in learn if name not in LEARNERS]:
        raise ValueError(f"expected learners of {', '.join(LEARNERS)}; got {', '.join(unknown)}")
    arms = [Arm(), *(_WITHOUT[name] for name in names), *(Arm(learn=name) for name in learn)]
    return list(dict.fromkeys(arms))


async def run_served(
    settings: Settings,
    dataset: Dataset,
    trial: Trial,
    end_ms: int,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    questions: Questions | None,
    bars: Bars,
) -> list[Outcome]:
    """Feed, train and serve; return the lists of each arm and seed.

    dataset: with the events after the split, which end before `end_ms`. questions: those to ask
    live; None plays nothing live. Files are in `<data>/served` and removed at the end. Raises
    DemoError if nothing can be learned, ValueError for scalars on a catalogue that grows.
    """
    material = material_of(dataset, trial, end_ms, settings)
    if material.launches and any(arm.reads == "control" for arm in arms):
        raise ValueError(
            "hgnn:scalars: expected a catalogue without items that are published after the split, "
            f"which have no scalars; got {len(material.launches):,} of them"
        )
    root = settings.folder / "served"
    shutil.rmtree(root, ignore_errors=True)
    outcomes = []
    try:
        for seed in seeds:
            for reads in dict.fromkeys(arm.reads for arm in arms):
                base = _settings(settings, material, trial, root / "trained", seed, reads)
                started = time.perf_counter()
                generation = await _train(base, material, seed, reads, bars)
                seconds = time.perf_counter() - started
                for arm in arms:
                    if arm.reads == reads:
                        with _copied(base, root / "serving") as own:
                            outcomes.append(
                                await _serve(
                                    own, material, dataset, trial, arm, seed, generation,
                                    questions, bars, seconds,
                                )
                            )  # fmt: skip
                shutil.rmtree(base.folder)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return outcomes


def _settings(
    settings: Settings, material: Material, trial: Trial, folder: Path, seed: int, reads: Reads
) -> Settings:
    """Return settings of the roles; without the HGNN the static job trains it for one epoch."""
    one = in_one_folder(
        settings, folder, texts=str(text_cache(settings)), models=str(text_models(settings))
    )
    train = one.static.train if reads == "hgnn" else replace(one.static.train, epochs=1)
    found = spanning(one, material, train, seed=seed)
    # The bundle stays that of the split while the test is played: all later demand is live.
    hours = (int(material.events["timestamp"][-1]) - material.split_ms) / HOUR_MS
    return replace(
        found,
        dynamic=_reading(found.dynamic, reads),
        worker=replace(
            found.worker,
            lists=lists_of(material.item_types, repeats=trial.settings.repeats),
            answer_pause_ms=1,
            demand_hours=found.worker.demand_hours + hours,
        ),
    )


def _reading(dynamic: DynamicSettings, reads: Reads) -> DynamicSettings:
    """Return settings under which text takes the place of the HGNN wherever it is read."""
    if reads == "hgnn":
        return dynamic
    ranking = dynamic.ranking
    near = tuple(dict.fromkeys("text" if name == "hgnn" else name for name in ranking.near))
    return replace(dynamic, use_hgnn=reads != "text", ranking=replace(ranking, near=near))


async def _train(
    settings: Settings, material: Material, seed: int, reads: Reads, bars: Bars
) -> int:
    """Apply the events before the split and train; returns the bundle's generation."""
    settings.folder.mkdir(parents=True)
    clock = Clock(material.split_ms)
    async with embedded_runtime(settings, "the embedded log", clock) as runtime:
        change = _scalars_for_vectors if reads == "control" else None
        bundle = await learn_history(runtime, material, seed, bars, Speed(), change)
    return bundle.generation


def _scalars_for_vectors(bundle: StaticBundle) -> StaticBundle:
    """Return the bundle with two scalars in the place of each item's HGNN vector.

    The catalogue is complete before the graph is made, so that no item needs the model's vector.
    """
    return replace(bundle, hgnn=scalars(bundle.users))


@contextmanager
def _copied(settings: Settings, folder: Path) -> Iterator[Settings]:
    """Copy the files of a run, so that what is served changes nothing in it."""
    shutil.copytree(settings.folder, folder)
    try:
        yield replace(settings, data=str(folder))
    finally:
        shutil.rmtree(folder)


async def _serve(
    settings: Settings,
    material: Material,
    dataset: Dataset,
    trial: Trial,
    arm: Arm,
    seed: int,
    generation: int,
    questions: Questions | None,
    bars: Bars,
    seconds: float,
) -> Outcome:
    """Request lists from a worker that starts on the files; the trainer runs if the arm learns."""
    started = time.perf_counter()
    times = material.part("test")["timestamp"].to_numpy()
    learns_at = learning_times(
        arm.learn, times, material.split_ms, examples=settings.trainer.min_examples
    )
    settings = replace(
        settings,
        worker=replace(settings.worker, ranking_head=arm.head),
        trainer=learning_settings(settings.trainer, arm.learn),
    )
    clock, reader = Clock(material.split_ms), Reader.of(dataset)
    names = [made.name for made in settings.worker.lists]
    published, sent = 0, dict[str, int]()
    async with embedded_runtime(settings, "the embedded log", clock, IDLE_S, clock) as runtime:
        await until(
            runtime, lambda: runtime.serves(generation), "the worker does not serve the bundle"
        )
        frozen = Served(lists={}, by_head=0.0)
        if arm.learn == FROZEN:  # others have the same lists at the split
            advance = _bar(bars, f"{arm.name}: lists at the split", len(trial.truth.users))
            frozen = await frozen_lists(runtime, trial, reader, names, advance)
        seconds += time.perf_counter() - started
        live = None
        if questions is not None:
            advance = _bar(bars, f"{arm.name}: live questions", len(questions))
            ids = [str(user) for user in dataset.users]
            if len(learns_at):
                runtime.roles.learn(by_itself=False)
            before = await _bundles(runtime)
            live = await live_lists(
                runtime, clock, material, questions, ids, reader, names, advance, learns_at
            )
            published = await _bundles(runtime) - before
            sent = await _sent(runtime, published)
    return Outcome(
        arm=arm, seed=seed, generation=generation, frozen=frozen, live=live, seconds=seconds,
        published=published, sent=sent,
    )  # fmt: skip


async def _bundles(runtime: EmbeddedRuntime) -> int:
    """Number of dynamic bundles that were announced."""
    records = await runtime.read(runtime.settings.topics.models, {})
    found = [announcement_of(record) for record in records]
    return sum(one is not None and one.key == b"dynamic" for one in found)


async def _sent(runtime: EmbeddedRuntime, published: int) -> dict[str, int]:
    """Return bytes of the bundles that were announced, and number and bytes of row deltas."""
    store = runtime.settings.store()
    last = described("", store.manifest("dynamic", store.names("dynamic")[-1]))
    deltas = await runtime.read(runtime.settings.topics.rows, {})
    return {
        "bundle_bytes": published * int(last["bytes"]),
        "row_deltas": len(deltas),
        "row_bytes": sum(len(record.value or b"") for record in deltas),
    }


def _bar(bars: Bars, what: str, total: int) -> Callable[[int], None]:
    task = bars.add_task(what, total=total, note="")
    return lambda done: bars.update(task, completed=done, total=total)
