"""Runs a data set through the product and returns the lists that it wrote.

    events before the split -> worker, static job, worker, trainer, gate     (once for each seed)
    requests at the split -> recommendations topic                           (frozen)
    events after the split, a request before each question -> the topic      (live)

The time of the roles is that of the data. On the embedded log, lists with and without the head come
of the same bundle: each arm starts from a copy of the log, the state and the artifacts. A Kafka's
topics cannot be copied: there, each arm is trained again, on topics of its own.
"""

import asyncio
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from agents.bundles.announcements import announcement_of
from agents.bundles.announcing import described
from dynamic_layer import DynamicSettings
from evaluation.dataset import Dataset
from evaluation.item_graph import Reads, scalars
from evaluation.prequential.stream import HOUR_MS, Questions
from evaluation.trial import Trial
from segue.demo.embedded_runtime import embedded_runtime
from segue.demo.material import Material, in_one_folder, spanning
from segue.demo.one_process import OneProcess
from segue.demo.one_process_steps import learn_history
from segue.demo.opening import start_kafka
from segue.demo.steps import Speed, until
from segue.folders import text_cache, text_models
from segue.screen import Bars
from segue.served.arms import Arm
from segue.served.feed import (
    Clock,
    Reader,
    Served,
    frozen_lists,
    lists_of,
    live_lists,
    material_of,
)
from segue.served.kafka_runtime import kafka_in_process
from segue.served.learning import FROZEN, follows_graph, learning_settings, learning_times
from segue.settings import Settings
from static_layer import StaticBundle

__all__ = ["Outcome", "run_served"]

#: Pause of a reader at the end of its topic, in seconds: a question waits for several in turn.
IDLE_S = 0.002
#: Session of the worker in its group, in seconds: this process trains beside it.
SESSION_S = 45.0


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


async def run_served(
    settings: Settings,
    dataset: Dataset,
    trial: Trial,
    end_ms: int,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    questions: Questions | None,
    bars: Bars,
    *,
    kafka: bool = False,
) -> list[Outcome]:
    """Feed, train and serve; return the lists of each arm and seed.

    dataset: with the events after the split, which end before `end_ms`. questions: those to ask
    live; None plays nothing live. kafka: on the configured Kafka, or on a development broker that
    is started, instead of the embedded log; then no arm learns during the test. Files are in
    `<data>/served` and removed at the end. Raises DemoError if nothing can be learned, BrokerError
    without a Kafka, ValueError for scalars on a catalogue that grows, or for an arm without a
    sequence tower, or with a live graph, where the settings have none.
    """
    if any(not arm.sequence for arm in arms) and not settings.dynamic.sequence.enabled:
        raise ValueError(
            "without sequence: expected settings with a sequence tower; add "
            "--set dynamic.sequence.enabled=true"
        )
    if any(follows_graph(arm.learn) for arm in arms) and not settings.dynamic.live_graph.enabled:
        raise ValueError(
            "a learner that follows the graph: expected a static bundle with counts; add "
            "--set dynamic.live_graph.enabled=true"
        )
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
        if kafka:
            return await _run_on_kafka(
                settings, root, material, dataset, trial, arms, seeds, questions, bars
            )
        for seed in seeds:
            for trained in dict.fromkeys(arm.trained for arm in arms):
                base = _settings(settings, material, trial, root / "trained", seed, trained)
                started = time.perf_counter()
                generation = await _train(base, material, seed, trained.reads, bars)
                seconds = time.perf_counter() - started
                for arm in arms:
                    if arm.trained == trained:
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
    settings: Settings, material: Material, trial: Trial, folder: Path, seed: int, arm: Arm
) -> Settings:
    """Return settings of the roles; without the HGNN the static job trains it for one epoch.

    Lists that count as shown are made beside those that are measured.
    """
    shown = tuple(
        made for made in settings.worker.lists if made.name in settings.worker.shown_lists
    )
    one = in_one_folder(
        settings, folder, texts=str(text_cache(settings)), models=str(text_models(settings))
    )
    train = one.static.train if arm.reads == "hgnn" else replace(one.static.train, epochs=1)
    found = spanning(one, material, train, seed=seed)
    # The bundle stays that of the split while the test is played: all later demand is live.
    hours = (int(material.events["timestamp"][-1]) - material.split_ms) / HOUR_MS
    return replace(
        found,
        dynamic=_dynamic_of(found.dynamic, arm),
        worker=replace(
            found.worker,
            lists=(*lists_of(material.item_types, repeats=trial.settings.repeats), *shown),
            answer_pause_ms=1,
            demand_hours=found.worker.demand_hours + hours,
        ),
    )


def _dynamic_of(dynamic: DynamicSettings, arm: Arm) -> DynamicSettings:
    """Return settings of an arm; without the HGNN text takes its place wherever it is read."""
    if not arm.sequence:
        dynamic = replace(dynamic, sequence=replace(dynamic.sequence, enabled=False))
    if arm.reads == "hgnn":
        return dynamic
    ranking = dynamic.ranking
    near = tuple(dict.fromkeys("text" if name == "hgnn" else name for name in ranking.near))
    return replace(dynamic, use_hgnn=arm.reads != "text", ranking=replace(ranking, near=near))


async def _train(
    settings: Settings, material: Material, seed: int, reads: Reads, bars: Bars
) -> int:
    """Apply the events before the split and train; returns the bundle's generation."""
    settings.folder.mkdir(parents=True)
    clock = Clock(material.split_ms)
    async with embedded_runtime(settings, "the embedded log", clock) as runtime:
        return await _learn(runtime, material, seed, reads, bars)


async def _learn(
    runtime: OneProcess, material: Material, seed: int, reads: Reads, bars: Bars
) -> int:
    """Learn the history before the split; return the bundle's generation."""
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
        dynamic=replace(
            settings.dynamic,
            live_graph=replace(settings.dynamic.live_graph, enabled=follows_graph(arm.learn)),
        ),
    )
    clock = Clock(material.split_ms)
    async with embedded_runtime(settings, "the embedded log", clock, IDLE_S, clock) as runtime:
        await _serving(runtime, generation)
        if len(learns_at):
            runtime.roles.learn(by_itself=False)
        found = await _lists(
            runtime, clock, material, dataset, trial, arm, questions, bars, learns_at,
            runtime.learn_up_to_now,
        )  # fmt: skip
    return Outcome(
        arm=arm, seed=seed, generation=generation, frozen=found.frozen, live=found.live,
        seconds=seconds + found.frozen_at - started, published=found.published, sent=found.sent,
    )  # fmt: skip


async def _run_on_kafka(
    settings: Settings,
    root: Path,
    material: Material,
    dataset: Dataset,
    trial: Trial,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    questions: Questions | None,
    bars: Bars,
) -> list[Outcome]:
    """Train and serve each arm on topics of its own; see `run_served`."""
    outcomes = []
    reached, name, broker = await asyncio.to_thread(start_kafka, replace(settings, data=str(root)))
    settings = replace(settings, kafka=reached.kafka)
    try:
        for number, (seed, arm) in enumerate(product(seeds, arms)):
            folder = root / f"arm-{number}"
            own = _of_one_arm(
                _settings(settings, material, trial, folder, seed, arm), arm,
                f"served-{uuid.uuid4().hex[:8]}",
            )  # fmt: skip
            own.folder.mkdir(parents=True)
            started, clock = time.perf_counter(), Clock(material.split_ms)
            async with kafka_in_process(own, name, clock) as runtime:
                generation = await _learn(runtime, material, seed, arm.reads, bars)
                await runtime.end("trainer")
                await _serving(runtime, generation)
                found = await _lists(runtime, clock, material, dataset, trial, arm, questions, bars)
            outcomes.append(
                Outcome(
                    arm=arm, seed=seed, generation=generation, frozen=found.frozen, live=found.live,
                    seconds=found.frozen_at - started, published=found.published, sent=found.sent,
                )
            )  # fmt: skip
            shutil.rmtree(own.folder)
    finally:
        if broker is not None:
            await asyncio.to_thread(broker.stop)
    return outcomes


def _of_one_arm(settings: Settings, arm: Arm, name: str) -> Settings:
    """Return settings of an arm on a Kafka that others may use: topics and groups of its own."""
    topics = replace(settings.topics, prefix=f"{settings.topics.prefix}-{name}")
    return replace(
        settings,
        topics=topics,
        sources=tuple(replace(one, topic=topics.impressions) for one in settings.sources),
        worker=replace(
            settings.worker, group=f"{settings.worker.group}-{name}", ranking_head=arm.head,
            session_timeout_s=SESSION_S,
        ),
        trainer=replace(settings.trainer, group=f"{settings.trainer.group}-{name}"),
    )  # fmt: skip


async def _serving(runtime: OneProcess, generation: int) -> None:
    await until(runtime, lambda: runtime.serves(generation), "the worker does not serve the bundle")


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """Lists of a run; frozen_at: when those at the split were there, by `time.perf_counter`.

    published, sent: as of `Outcome`.
    """

    frozen: Served
    live: Served | None
    frozen_at: float
    published: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)


async def _lists(
    runtime: OneProcess,
    clock: Clock,
    material: Material,
    dataset: Dataset,
    trial: Trial,
    arm: Arm,
    questions: Questions | None,
    bars: Bars,
    learns_at: Sequence[int] = (),
    learn: Callable[[], Awaitable[None]] | None = None,
) -> _Lists:
    """Request the lists at the split, then play the test; see `live_lists`."""
    reader, frozen, live = Reader.of(dataset), Served(lists={}, by_head=0.0), None
    names = [made.name for made in runtime.settings.worker.lists]
    if arm.learn == FROZEN:  # others have the same lists at the split
        advance = _bar(bars, f"{arm.name}: lists at the split", len(trial.truth.users))
        frozen = await frozen_lists(runtime, trial, reader, names, advance)
    frozen_at = time.perf_counter()
    published, sent = 0, dict[str, int]()
    if questions is not None:
        before = await _bundles(runtime)
        advance = _bar(bars, f"{arm.name}: live questions", len(questions))
        ids = [str(user) for user in dataset.users]
        live = await live_lists(
            runtime, clock, material, questions, ids, reader, names, advance, learns_at, learn
        )
        published = await _bundles(runtime) - before
        sent = await _sent(runtime, published)
    return _Lists(frozen=frozen, live=live, frozen_at=frozen_at, published=published, sent=sent)


async def _bundles(runtime: OneProcess) -> int:
    """Number of dynamic bundles that were announced."""
    records = await runtime.read(runtime.settings.topics.models, {})
    found = [announcement_of(record) for record in records]
    return sum(one is not None and one.key == b"dynamic" for one in found)


async def _sent(runtime: OneProcess, published: int) -> dict[str, int]:
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
