"""The static job on a Ray cluster: Ray Data merges, Ray Train trains.

What travels: the merged state through Ray's object store, once to every machine; text vectors,
structural features and gradients between the workers (see static_layer.sharing); the bundle
through the artifact store, checked by its digests. Settings that hold passwords stay here: workers
get those of the static layer and the store's URL, and its credentials from their own environment.

Between its members Ray pickles calls and their arguments, as it always does: who reaches a
cluster's ports can run code on it. No file that Segue writes or reads is a pickle.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow.fs
import ray
import ray.exceptions
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer

from state import LONG, ArtifactStore, CorruptArtifact, MergedState, StateSettings, WrongState
from state.merge import with_items
from static_layer.bundle import StaticBundle
from static_layer.job import build_together
from static_layer.merge_on_ray import merge_on_ray
from static_layer.parallel import PATIENCE, Parallel
from static_layer.progress import Progress, silent
from static_layer.settings import ClusterFailed, RaySettings, StaticSettings
from static_layer.text import TextEncoder
from static_layer.warm_start import last_bundle

_EXPECTED = (ValueError, CorruptArtifact, WrongState, FloatingPointError)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a training worker gets; the merged state as a reference into the object store.

    store: URL of the artifact store. encoder: makes the worker's text encoder.
    """

    merged: "list[ray.ObjectRef[MergedState]]"
    settings: StaticSettings
    encoder: Callable[[], TextEncoder]
    store: str
    seed: int


def build_on_ray(
    store_url: str,
    state: StateSettings,
    settings: StaticSettings,
    where: RaySettings,
    *,
    seed: int,
    encoder: Callable[[], TextEncoder],
    progress: Progress = silent,
    items: Sequence[Mapping[str, Any]] | None = None,
) -> StaticBundle:
    """Merge the latest checkpoints and build the bundle on a cluster; return it, published.

    store_url: of the artifact store, as every machine reaches it; the bundle lies there, and is
               not announced yet. encoder: makes the text encoder of a worker.
    items:     the catalogue in the place of the checkpoints'; see `state.merge.with_items`.
    Raises ClusterFailed, and what state.merge_checkpoints and static_layer.build raise.
    """
    with _cluster(where), _explained():
        merged = merge_on_ray(
            store_url, state, progress=lambda done, total: progress("merge", done, total)
        )
        if items is not None:
            merged = with_items(merged, items)
        task = _Task(
            merged=[ray.put(merged)], settings=settings, encoder=encoder, store=store_url, seed=seed
        )
        del merged
        progress("training on Ray", 0, 1)
        name = _trained(task, where)
        progress("training on Ray", 1, 1)
    with tempfile.TemporaryDirectory(prefix="segue-static-") as folder:
        return StaticBundle.load(
            ArtifactStore(store_url, patience=LONG).fetch("static", name, Path(folder))
        )


def _trained(task: _Task, where: RaySettings) -> str:
    """Run the training; return the name of the bundle that its first worker has published."""
    store = ArtifactStore(task.store, patience=LONG)
    # Ray keeps a training's own notes where all machines find them; they end with it.
    notes, run = f"{store.root}/ray", f"static-{uuid4().hex}"
    store.files.makedirs(notes, exist_ok=True)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"task": task},
        torch_config=TorchConfig(timeout_s=int(PATIENCE.total_seconds())),
        scaling_config=train.ScalingConfig(
            num_workers=where.workers,
            use_gpu=where.gpu,
            resources_per_worker={"CPU": where.cpus, **({"GPU": 1} if where.gpu else {})},
            placement_strategy="SPREAD",
        ),
        run_config=train.RunConfig(
            name=run,
            storage_path=notes,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store.files)),
            failure_config=train.FailureConfig(max_failures=where.retries),
        ),
    )
    try:
        return str(trainer.fit().return_value)
    finally:
        if store.files.exists(f"{notes}/{run}"):
            store.files.rm(f"{notes}/{run}", recursive=True)


def _work(config: dict[str, _Task]) -> str | None:
    """Build as one of the workers, whose process group is open; the first one publishes."""
    task = config["task"]
    merged = cast(MergedState, ray.get(task.merged[0]))
    helps = Parallel.here().rank > 0
    last = None if helps else last_bundle(ArtifactStore(task.store, patience=LONG))
    with closing(task.encoder()) as encoder:
        bundle = build_together(
            merged, task.settings, seed=task.seed, last=last, encoder=encoder,
            progress=silent if helps else _tell,
        )  # fmt: skip
    if bundle is None:
        return None
    with tempfile.TemporaryDirectory(prefix="segue-static-") as folder:
        bundle.save(Path(folder))
        ArtifactStore(task.store, patience=LONG).publish("static", bundle.name, Path(folder))
    return bundle.name


def _tell(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
    """Report progress by a line, which Ray carries to the process that started the job."""
    shown = "  ".join(f"{name} {value:.4g}" for name, value in (figures or {}).items())
    print(f"{stage} {done:,}/{total:,}  {shown}".rstrip(), flush=True)  # noqa: T201


@contextmanager
def _cluster(where: RaySettings) -> Iterator[None]:
    """Be connected to the cluster, unless this process is already: then it stays so."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=where.address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise ClusterFailed(f"no Ray cluster at {where.address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _explained() -> Iterator[None]:
    """Raise what a worker raised in its own kind, and all that is Ray's as ClusterFailed."""
    try:
        yield
    except (ray.exceptions.RayError, train.TrainingFailedError) as error:
        cause = _cause(error)
        if cause is not None:
            raise cause from error
        raise ClusterFailed(f"Ray did not finish the static job: {error}") from error


def _cause(error: BaseException) -> Exception | None:
    """Return the expected error that is behind one of Ray's; None if there is none."""
    behind: list[BaseException | None] = [error]
    while behind:
        at = behind.pop()
        if isinstance(at, _EXPECTED):
            return at
        if at is not None:
            behind += [at.__cause__, getattr(at, "cause", None)]
            behind += getattr(at, "worker_failures", {}).values()
    return None
