"""Settings of the HGNN's training."""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the HGNN learns. Paper B: Adam, 1e-3, batch 256, 50 epochs, patience 10, 10 % held back.

    Ours differ where it was measured to pay, on the simulated world (5,000 items, 384,000 edges)
    and one core: three epochs of batch 1,024 at 3e-3 took 33 s of CPU and reached HR@10
    .33 / .20 (audiobook / podcast); the text vectors have .10 / .06.

    epochs:               at most this many.
    patience:             epochs without a better validation MRR before training stops.
    batch_size:           edges per step. A step on a small graph costs nearly the same for 256 as
                          for 1,024 edges, since both reach most of the nodes.
    learning_rate:        of Adam.
    loss:                 `contrastive` (InfoNCE, ours: HR@10 of the vectors alone on lfm1m .20
                          against .18) or `hinge` (the paper's).
    margin:               of the hinge loss, in cosine (measured: .05 .29, .1 .30, .2 .26, .3 .22,
                          .5 .16 HR@10 on audiobooks, structure_gain 16).
    temperature:          of the contrastive loss.
    negatives:            items drawn per step, shared by its edges (the papers do not say).
    fan_outs:             neighbours per relation, one per layer, input side first.
    balanced:             cut every relation to the smallest one's edges, anew each epoch.
    edge_draw:            chance of an edge to be drawn: `uniform` (the paper's), or by `count`,
                          `cosine` or `ppmi` (see links.edge_chances; compared in docs/hgnn.md).
    in_batch:             the step's other positives are negatives too; they are drawn as often
                          as they have edges, so the vectors learn less of popularity.
    cold_share:           share of edges whose anchor is known by text alone, so that the
                          model learns where an item without edges belongs; 0 in the paper.
    validation_share:     share of the edges held back, and
    max_validation_edges: at most this many.
    max_edges_per_epoch:  bounds an epoch, and with it the time between validations; 0 does not.
    max_seconds:          stop after the first step that ends later; 0 does not. A training
                          that is stopped by the clock is not reproducible by seed.
    tune_text:            layers of the text encoder, counted from its end, that learn with the
                          HGNN; 0 trains none. For measuring: `segue static build` refuses it
                          (docs/hgnn.md has what it was measured to be worth).
    tune_learning_rate:   of these layers.
    tune_texts:           texts of a step that the gradient reaches, those of the items known by
                          text alone first; the others are as they were after the last epoch. A
                          text costs three times these layers' part of an encoding.
    sampler:              `torch`, or `dgl` (needs the dgl extra).
    device:               `auto`, `cpu`, `cuda`, ...
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 1024
    learning_rate: float = 3e-3
    loss: Literal["hinge", "contrastive"] = "contrastive"
    margin: float = 0.1
    temperature: float = 0.1
    negatives: int = 512
    fan_outs: tuple[int, ...] = (10, 10)
    balanced: bool = True
    edge_draw: Literal["uniform", "count", "cosine", "ppmi"] = "uniform"
    in_batch: bool = False
    cold_share: float = 0.1
    validation_share: float = 0.1
    max_validation_edges: int = 4096
    max_edges_per_epoch: int = 50_000
    max_seconds: float = 0.0
    tune_text: int = 0
    tune_learning_rate: float = 2e-5
    tune_texts: int = 256
    sampler: Literal["torch", "dgl"] = "torch"
    device: str = "auto"

    def torch_device(self) -> torch.device:
        """Return the device that `device` means on this machine."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)
