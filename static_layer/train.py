"""Training of the HGNN: batches of balanced links, early stopping on held-back edges."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN, HGNNSettings
from static_layer.links import Links, Strangers, balanced_links, hold_back
from static_layer.loss import contrastive_loss, hinge_loss
from static_layer.progress import Progress, silent
from static_layer.sampler import CsrSampler, Sampler
from static_layer.structure import structural_features

SamplerFactory = Callable[[HeteroGraph, tuple[int, ...], torch.device], Sampler]

_VALIDATION_STRANGERS = 1000


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the HGNN learns. Paper B: Adam, 1e-3, batch 256, 50 epochs, patience 10, 10 % held back.

    epochs:               at most this many.
    patience:             epochs without a better validation MRR before training stops.
    batch_size:           edges per step. On two cores a step on a small graph costs almost the
                          same for 256 as for 2,048 edges, since both reach most of the nodes.
    learning_rate:        of Adam.
    loss:                 `hinge` (the paper's) or `contrastive` (InfoNCE).
    margin:               of the hinge loss, in cosine.
    temperature:          of the contrastive loss.
    negatives:            items drawn per step, shared by its edges (the papers do not say).
    fan_outs:             neighbours per relation, one per layer, input side first.
    balanced:             cut every relation to the smallest one's edges, anew each epoch.
    cold_share:           share of edges whose anchor is known by text alone, so that the
                          model learns where an item without edges belongs; 0 in the paper.
    validation_share:     share of the edges held back, and
    max_validation_edges: at most this many.
    max_edges_per_epoch:  bounds an epoch, and with it the time between validations; 0 does not.
    max_seconds:          stop after the first step that ends later; 0 does not. A training
                          that is stopped by the clock is not reproducible by seed.
    sampler:              `torch`, or `dgl` (needs the dgl extra).
    device:               `auto`, `cpu`, `cuda`, ...
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 2048
    learning_rate: float = 1e-3
    loss: Literal["hinge", "contrastive"] = "hinge"
    margin: float = 0.5
    temperature: float = 0.1
    negatives: int = 512
    fan_outs: tuple[int, ...] = (10, 10)
    balanced: bool = True
    cold_share: float = 0.1
    validation_share: float = 0.1
    max_validation_edges: int = 4096
    max_edges_per_epoch: int = 100_000
    max_seconds: float = 0.0
    sampler: Literal["torch", "dgl"] = "torch"
    device: str = "auto"

    def torch_device(self) -> torch.device:
        """Return the device that `device` means on this machine."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True)
class Training:
    """What came out: the model with the best validation, and how it went.

    epochs:         epochs finished; `best_epoch` counts from 1 (0: the untrained model).
    loss:           mean training loss of the last epoch, nan without an edge.
    validation_mrr: mean reciprocal rank of a held-back neighbour among 1,000 strangers, best.
    features:       f32[n, ...], the model's input for every item of the graph.
    stopped_by:     `patience`, `epochs`, `clock` or `no edges`.
    """

    model: HGNN
    features: NDArray[np.float32]
    epochs: int
    best_epoch: int
    loss: float
    validation_mrr: float
    seconds: float
    edges_seen: int
    stopped_by: str


def train(
    graph: HeteroGraph,
    text: NDArray[np.float32],
    model_settings: HGNNSettings,
    settings: TrainSettings,
    *,
    seed: int,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Training:
    """Fit an HGNN to the graph; text is f32[n, d], in the order of the graph's rows.

    The held-back edges carry no messages during training and do not shape the structural
    features. A graph without edges gives the untrained model, which still maps equal texts to
    equal vectors. Raises FloatingPointError if the loss is not finite.
    """
    started = clock()
    device = settings.torch_device()
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HGNN(text.shape[1], len(graph.type_names), model_settings).to(device)
    train_graph, held_back = hold_back(
        graph, settings.validation_share, settings.max_validation_edges, rng
    )
    structure = structural_features(train_graph, model_settings.structure, seed=seed)
    texts = torch.from_numpy(text).to(device)
    features = model.features(texts, torch.from_numpy(structure).to(device))
    known = features.cpu().numpy()
    if not any(train_graph.edge_counts.values()):
        return Training(model, known, 0, 0, float("nan"), float("nan"), 0.0, 0, "no edges")
    sampler = sampler_factory(settings.sampler)(train_graph, settings.fan_outs, device)
    learner = _Learner(model, texts, features, sampler, graph, settings, seed)
    best, best_mrr, best_epoch = copy.deepcopy(model.state_dict()), -1.0, 0
    edges_seen, loss, epoch, stopped_by = 0, float("nan"), 0, "epochs"
    for epoch in range(1, settings.epochs + 1):
        links = balanced_links(
            train_graph, settings.max_edges_per_epoch, rng, balanced=settings.balanced
        )
        losses: list[float] = []
        for batch in links.batches(settings.batch_size):
            losses.append(learner.step(batch))
            edges_seen += len(batch)
            if settings.max_seconds and clock() - started > settings.max_seconds:
                stopped_by = "clock"
                break
        loss = float(np.mean(losses))
        mrr = learner.validate(held_back)
        if mrr > best_mrr:
            best, best_mrr, best_epoch = copy.deepcopy(model.state_dict()), mrr, epoch
        progress("hgnn", epoch, settings.epochs, {"loss": loss, "mrr": mrr, "best": best_mrr})
        if stopped_by == "clock":
            break
        if epoch - best_epoch >= settings.patience:
            stopped_by = "patience"
            break
    model.load_state_dict(best)
    model.eval()
    seconds = clock() - started
    return Training(
        model, known, epoch, best_epoch, loss, best_mrr, seconds, edges_seen, stopped_by
    )


def sampler_factory(name: str) -> SamplerFactory:
    """Return what makes the sampler of that name; raises ValueError for an unknown one."""
    if name == "torch":
        return CsrSampler
    if name == "dgl":
        # Imported here: DGL is an extra, and loads only where somebody asks for it.
        from static_layer.sampler_dgl import DGLSampler  # noqa: PLC0415

        return DGLSampler
    raise ValueError(f"sampler is torch or dgl, not {name!r}")


class _Learner:
    """One optimiser step, and one validation, on a fixed graph."""

    def __init__(
        self,
        model: HGNN,
        text: Tensor,
        features: Tensor,
        sampler: Sampler,
        graph: HeteroGraph,
        settings: TrainSettings,
        seed: int,
    ) -> None:
        self.model, self.text, self.features = model, text, features
        self.sampler, self.settings = sampler, settings
        self.strangers = Strangers(graph, text.device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        self.generator = torch.Generator(device=text.device).manual_seed(seed)
        self.seed = seed

    def step(self, links: Links) -> float:
        """Learn from a batch of edges; return its loss."""
        settings, device = self.settings, self.text.device
        anchors, positives = links.anchors.to(device), links.positives.to(device)
        negatives = self.strangers.draw(settings.negatives, self.generator)
        self.model.train()
        z = self._vectors(torch.cat([anchors, positives, negatives]), self.generator)
        z_a, z_p, z_n = torch.split(z, [len(anchors), len(positives), len(negatives)])
        if settings.cold_share:
            drawn = torch.rand(len(anchors), generator=self.generator, device=device)
            cold = (drawn < settings.cold_share).nonzero().squeeze(1)
            z_a = z_a.index_copy(0, cold, self.model.cold(self.text[anchors[cold]]))
        excluded = self.strangers.excluded(anchors, negatives)
        if settings.loss == "hinge":
            loss = hinge_loss(z_a, z_p, z_n, excluded, settings.margin)
        else:
            loss = contrastive_loss(z_a, z_p, z_n, excluded, settings.temperature)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the HGNN's loss became {float(loss.detach())}: lower train.learning_rate"
                f" (now {settings.learning_rate}), and look for text vectors that are not finite"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, links: Links) -> float:
        """Return the mean reciprocal rank of the positives among strangers; nan without any."""
        if not len(links):
            return float("nan")
        generator = torch.Generator(device=self.text.device).manual_seed(self.seed)
        negatives = self.strangers.draw(_VALIDATION_STRANGERS, generator)
        self.model.eval()
        reciprocal: list[Tensor] = []
        for batch in links.batches(self.settings.batch_size):
            anchors = batch.anchors.to(self.text.device)
            positives = batch.positives.to(self.text.device)
            z = self._vectors(torch.cat([anchors, positives, negatives]), generator)
            z_a, z_p, z_n = torch.split(z, [len(anchors), len(positives), len(negatives)])
            # Ties count against the model: a collapsed one must not look perfect.
            above = z_a @ z_n.T >= (z_a * z_p).sum(dim=1, keepdim=True)
            above &= ~self.strangers.excluded(anchors, negatives)
            reciprocal.append(1.0 / (1.0 + above.sum(dim=1)))
        return float(torch.cat(reciprocal).mean())

    def _vectors(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the vectors of rows that may repeat, each row computed once."""
        distinct, place = torch.unique(rows, return_inverse=True)
        blocks = self.sampler.blocks(distinct, generator)
        z: Tensor = self.model(self.features[blocks[0].sources], blocks)
        return z[place]
