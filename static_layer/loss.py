"""The HGNN's losses: an edge's ends near each other, strangers apart."""

from torch import Tensor
from torch.nn import functional


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
