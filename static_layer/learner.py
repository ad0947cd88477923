"""The HGNN's losses, one step of training, and one validation."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from static_layer.features import NodeFeatures
from static_layer.graph import HeteroGraph
from static_layer.hgnn import HGNN
from static_layer.links import Links, Strangers
from static_layer.parallel import Parallel
from static_layer.sampler import Sampler
from static_layer.settings import TrainSettings
from static_layer.tuned_text import FreshText, TunedText


def hinge_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, excluded: Tensor, margin: float
) -> Tensor:
    """Mean over edges and negatives n of max(0, z_a.z_n - z_a.z_p + margin) (paper B).

    anchors, positives: f32[b, d], the ends of b edges; negatives: f32[m, d], shared by all
    edges; excluded: bool[b, m], true where a negative is the anchor itself or connected to it.
    """
    positive = (anchors * positives).sum(dim=1, keepdim=True)
    lost = functional.relu(anchors @ negatives.T - positive + margin)
    lost = lost.masked_fill(excluded, 0.0)
    return lost.sum() / (~excluded).sum().clamp(min=1)


def contrastive_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, excluded: Tensor, temperature: float
) -> Tensor:
    """InfoNCE: mean over edges of -log softmax of the positive among itself and the negatives.

    Arguments as for `hinge_loss`; `temperature` divides the cosines.
    """
    positive = (anchors * positives).sum(dim=1, keepdim=True) / temperature
    others = (anchors @ negatives.T / temperature).masked_fill(excluded, -1e9)
    return (others.logsumexp(dim=1, keepdim=True).logaddexp(positive) - positive).mean()


_VALIDATION_STRANGERS = 1000


class Learner:
    """One optimiser step, and one validation, on a fixed graph."""

    def __init__(
        self,
        model: HGNN,
        features: NodeFeatures,
        sampler: Sampler,
        graph: HeteroGraph,
        settings: TrainSettings,
        seed: int,
        tuned: TunedText | None = None,
    ) -> None:
        """Keep the model and make its optimiser.

        features: of all items; sampler: on the graph that carries messages; graph: with all
        edges, so that no neighbour passes for a stranger; tuned: text that learns too.
        """
        self.model, self.features, self.tuned = model, features, tuned
        self.sampler, self.settings = sampler, settings
        self.device = next(model.parameters()).device
        self.strangers = Strangers(graph, self.device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        if tuned is not None:
            self.optimizer.add_param_group(
                {"params": tuned.layers.parameters(), "lr": settings.tune_learning_rate}
            )
        self.parallel = Parallel.here()
        self.learning = self.parallel.wrap(model)
        # What all processes draw alike, and what each draws for itself.
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        self.sampling = torch.Generator(device=self.device).manual_seed(seed + self.parallel.rank)
        self.seed = seed

    def step(self, links: Links) -> float:
        """Learn from a batch of edges, or this process's part of it; return the batch's loss."""
        settings, device, part = self.settings, self.device, self.parallel.part(len(links))
        negatives = self.strangers.draw(settings.negatives, self.generator).to(device)
        if settings.in_batch:
            # Their vectors are needed anyway: these negatives cost a product, and no neighbours.
            negatives = torch.unique(torch.cat([negatives, links.positives.to(device)]))
        drawn = torch.rand(len(links), generator=self.generator, device=device)[part]
        anchors, positives = links.anchors[part].to(device), links.positives[part].to(device)
        self.model.train()
        cold = (drawn < settings.cold_share).nonzero().squeeze(1)
        fresh = self._fresh(anchors[cold], torch.cat([anchors, positives]))
        rows = torch.cat([anchors, positives, negatives])
        z = self._vectors(self.learning, rows, self.sampling, fresh)
        z_a, z_p, z_n = torch.split(z, [len(anchors), len(positives), len(negatives)])
        if settings.cold_share:
            text = self.features.text(anchors[cold], fresh)
            z_a = z_a.index_copy(0, cold, self.model.cold(text))
        excluded = self.strangers.excluded(anchors, negatives)
        if settings.loss == "hinge":
            loss = hinge_loss(z_a, z_p, z_n, excluded, settings.margin)
        else:
            loss = contrastive_loss(z_a, z_p, z_n, excluded, settings.temperature)
        # The last batch may be too small for a part: nothing is learned from it here, but the
        # other processes wait for this one's gradients.
        loss = loss * self.parallel.share(len(links)) if len(anchors) else z.sum() * 0.0
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        value = self.parallel.total(float(loss.detach()), device) / self.parallel.size
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the HGNN's loss became {value}: lower train.learning_rate"
                f" (now {settings.learning_rate}), and look for text vectors that are not finite"
            )
        self.optimizer.step()
        return value

    @torch.no_grad()
    def validate(self, links: Links) -> float:
        """Return the mean reciprocal rank of the positives among strangers; nan without any."""
        if not len(links):
            return float("nan")
        generator = torch.Generator(device=self.device).manual_seed(self.seed)
        negatives = self.strangers.draw(_VALIDATION_STRANGERS, generator)
        self.model.eval()
        reciprocal: list[Tensor] = []
        for batch in links.batches(self.settings.batch_size):
            anchors = batch.anchors.to(self.device)
            positives = batch.positives.to(self.device)
            z = self._vectors(self.model, torch.cat([anchors, positives, negatives]), generator)
            z_a, z_p, z_n = torch.split(z, [len(anchors), len(positives), len(negatives)])
            # Ties count against the model: a collapsed one must not look perfect.
            above = z_a @ z_n.T >= (z_a * z_p).sum(dim=1, keepdim=True)
            above &= ~self.strangers.excluded(anchors, negatives)
            reciprocal.append(1.0 / (1.0 + above.sum(dim=1)))
        return float(torch.cat(reciprocal).mean())

    def renew_text(self) -> None:
        """Encode all texts as the encoder is now, where it learns."""
        if self.tuned is not None:
            self.features.renew(self.tuned.vectors())

    def _fresh(self, cold: Tensor, others: Tensor) -> FreshText | None:
        """Return text vectors with gradient of at most `tune_texts` rows, the cold ones first.

        What is known by text alone carries the loss to it most directly.
        """
        if self.tuned is None:
            return None
        drawn = torch.randperm(len(others), generator=self.generator, device=self.device)
        rows = torch.unique(torch.cat([cold, others[drawn]])[: self.settings.tune_texts])
        return FreshText(rows, self.tuned(rows))

    def _vectors(
        self,
        model: nn.Module,
        rows: Tensor,
        generator: torch.Generator,
        fresh: FreshText | None = None,
    ) -> Tensor:
        """Return the vectors of rows that may repeat, each row computed once."""
        distinct, place = torch.unique(rows, return_inverse=True)
        blocks = self.sampler.blocks(distinct, generator)
        z: Tensor = model(self.features.rows(blocks[0].sources, fresh), blocks)
        return z[place]
