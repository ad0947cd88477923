"""Training of the HGNN: batches of balanced links, early stopping on held-back edges."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from static_layer.features import NodeFeatures, structural_features
from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN
from static_layer.learner import Learner
from static_layer.links import Links, balanced_links, hold_back
from static_layer.parallel import Parallel
from static_layer.progress import Progress, silent
from static_layer.sampler import CsrSampler, Sampler
from static_layer.seeding import seeded
from static_layer.settings import HGNNSettings, TrainSettings
from static_layer.tuned_text import TunedText
from static_layer.warm_start import Start

_REPORT_STEPS = 32  # an epoch over millions of edges lasts minutes: show that it moves
logger = logging.getLogger(__name__)
SamplerFactory = Callable[[HeteroGraph, tuple[int, ...], torch.device], Sampler]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What came out: the model with the best validation, and how it went.

    epochs:         epochs finished; `best_epoch` counts from 1 (0: the untrained model).
    loss:           mean training loss of the last epoch, nan without an edge.
    validation_mrr: mean reciprocal rank of a held-back neighbour among 1,000 strangers, best.
    features:       the model's input for every item of the graph.
    structure:      f32[n, ds], the structural part of it.
    stopped_by:     `patience`, `epochs`, `clock` or `no edges`.
    """

    model: HGNN
    features: NodeFeatures
    structure: NDArray[np.float32]
    epochs: int = 0
    best_epoch: int = 0
    loss: float = float("nan")
    validation_mrr: float = float("nan")
    seconds: float = 0.0
    edges_seen: int = 0
    stopped_by: str = "no edges"


def train(
    graph: HeteroGraph,
    text: NDArray[np.floating],
    model_settings: HGNNSettings,
    settings: TrainSettings,
    *,
    seed: int,
    start: Start | None = None,
    tuned: TunedText | None = None,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Training:
    """Fit an HGNN to the graph; text is f16 or f32[n, d], in the order of the graph's rows.

    start: an earlier model to go on from; in a group of processes the first one's counts.
    tuned: the same texts, whose encoder learns with the HGNN; `vectors` gives what became of
    them. All of them are encoded again after each epoch.
    Inside a group of processes (see static_layer.parallel) all train one model together. The
    held-back edges carry no messages during training and do not shape the structural
    features. A graph without edges gives the untrained model, which still maps equal texts to
    equal vectors. Raises FloatingPointError if the loss is not finite, ValueError if the
    processes have graphs of different sizes, or several are to tune texts.
    """
    if tuned is not None and Parallel.here().size > 1:
        raise ValueError("static.train.tune_text: expected one process, this is one of several")
    started = clock()
    device = settings.torch_device()
    _require_equal_graphs(graph, device)
    rng = np.random.default_rng(seed)
    with seeded(seed):
        model = HGNN(text.shape[1], len(graph.type_names), model_settings, folded=graph.folded).to(
            device
        )
    train_graph, held_back = hold_back(
        graph, settings.validation_share, settings.max_validation_edges, rng
    )
    progress("structure", 0, 1)
    structure = _structure(train_graph, model_settings.structure, seed, start)
    if start is not None:
        model.load_state_dict(start.model.state_dict())
    progress("structure", 1, 1)
    features = NodeFeatures(model, text, structure, device)
    if tuned is not None:
        tuned.to(device)
    result = Training(model=model, features=features, structure=structure)
    if any(train_graph.edge_counts.values()):
        sampler = sampler_factory(settings.sampler)(train_graph, settings.fan_outs, device)
        learner = Learner(model, features, sampler, graph, settings, seed, tuned)

        def out_of_time() -> bool:
            if not settings.max_seconds:
                return False
            late = clock() - started > settings.max_seconds
            # The first process's clock ends the training of all.
            return learner.parallel.total(late and not learner.parallel.rank, device) > 0

        result = _fit(result, learner, train_graph, held_back, rng, progress, out_of_time)
    model.eval()
    return replace(result, seconds=clock() - started)


def _structure(
    graph: HeteroGraph, width: int, seed: int, start: Start | None
) -> NDArray[np.float32]:
    """Return the first process's structural features on all: rounding could turn those of others.

    The rest of the processes wait for it instead of computing the same.
    """
    processes = Parallel.here()
    if processes.rank:
        structure = np.empty((graph.nodes, width), dtype=np.float32)
    else:
        structure = structural_features(graph, width, seed=seed)
        if start is not None:
            structure = start.turned(structure)
    processes.fill(structure)
    return structure


def _require_equal_graphs(graph: HeteroGraph, device: torch.device) -> None:
    processes = Parallel.here()
    for size in (graph.nodes, sum(graph.edge_counts.values())):
        total = processes.total(size, device)
        if total != size * processes.size:
            raise ValueError(
                f"the {processes.size} processes have {total:,.0f} items or edges together, this"
                f" one {size:,}: expected the same graph; were checkpoints written meanwhile?"
            )


def _fit(
    untrained: Training,
    learner: Learner,
    graph: HeteroGraph,
    held_back: Links,
    rng: np.random.Generator,
    progress: Progress,
    out_of_time: Callable[[], bool],
) -> Training:
    """Train epoch by epoch until a reason to stop, and put the best weights into the model."""
    settings, model = learner.settings, untrained.model
    best = replace(untrained, stopped_by="epochs")
    progress("hgnn", 0, settings.epochs)
    learned = nn.ModuleList([model] if learner.tuned is None else [model, learner.tuned])
    best_score, best_weights = -float("inf"), copy.deepcopy(learned.state_dict())
    edges_seen = 0
    for epoch in range(1, settings.epochs + 1):
        links = balanced_links(
            graph,
            settings.max_edges_per_epoch,
            rng,
            balanced=settings.balanced,
            draw=settings.edge_draw,
        )
        losses: list[float] = []
        late = False
        for batch in links.batches(settings.batch_size):
            losses.append(learner.step(batch))
            edges_seen += len(batch)
            if len(losses) % _REPORT_STEPS == 0:
                figures = {"loss": losses[-1], "edges": float(edges_seen)}
                progress("hgnn", epoch - 1, settings.epochs, figures)
            late = out_of_time()
            if late:
                break
        loss = float(np.mean(losses))
        learner.renew_text()
        # All processes have to stop at the same epoch, whatever the last digits of theirs are.
        mrr = learner.parallel.firsts(learner.validate(held_back), learner.device)
        # A graph too small to hold an edge back is judged by its training loss.
        score = mrr if len(held_back) else -loss
        if score > best_score:
            best_score, best_weights = score, copy.deepcopy(learned.state_dict())
            best = replace(best, best_epoch=epoch, validation_mrr=mrr)
        best = replace(best, epochs=epoch, loss=loss, edges_seen=edges_seen)
        progress("hgnn", epoch, settings.epochs, _figures(best, mrr))
        if late:
            logger.warning(
                "static.train.max_seconds = %g stopped the training in epoch %d of %d: another"
                " run with this seed gives other vectors",
                settings.max_seconds, epoch, settings.epochs,
            )  # fmt: skip
        if late or epoch - best.best_epoch >= settings.patience:
            best = replace(best, stopped_by="clock" if late else "patience")
            break
    learned.load_state_dict(best_weights)
    learner.renew_text()
    return best


def _figures(training: Training, mrr: float) -> dict[str, float]:
    return {"loss": training.loss, "mrr": mrr, "best": training.validation_mrr}


def sampler_factory(name: str) -> SamplerFactory:
    """Return what makes the sampler of that name; raises ValueError for an unknown one."""
    if name == "torch":
        return CsrSampler
    if name == "dgl":
        # Imported here: DGL is an extra, and loads only on request.
        from static_layer.sampler_dgl import DGLSampler  # noqa: PLC0415

        return DGLSampler
    raise ValueError(f"sampler is torch or dgl, not {name!r}")
