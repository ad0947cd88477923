"""Settings of the sequence tower that workers serve."""

from dataclasses import dataclass

__all__ = ["SequenceSettings"]


@dataclass(frozen=True, kw_only=True)
class SequenceSettings:
    """The sequence tower (ADR 91): self-attention over the newest entries of a history.

    It reads `dynamic.replay.history_cap` entries.

    enabled: train it beside the two towers. The ranking head then has its score as a feature and
        its best items among the candidates. Bundles have its weights and item vectors.
    width: width of its user and item vectors; a multiple of `heads`.
    lags: newest entries that its recency-weighted sum reads.
    blocks: blocks of self-attention.
    heads: heads of each block.
    dropout: share of inputs and corrections that are dropped in training.
    examples: examples of each batch of the towers that it learns from; every entry of their
        histories is a target.
    negatives: items drawn per step, uniformly from those with events.
    learning_rate: learning rate of Adam.
    candidates: candidates of a type that it proposes.
    """

    enabled: bool = False
    width: int = 128
    lags: int = 16
    blocks: int = 1
    heads: int = 2
    dropout: float = 0.3
    examples: int = 64
    negatives: int = 512
    learning_rate: float = 1e-3
    candidates: int = 60

    def __post_init__(self) -> None:
        """Raise ValueError for heads that do not divide the width."""
        if self.width % self.heads:
            raise ValueError(
                f"dynamic.sequence.width: expected a multiple of {self.heads} heads, "
                f"got {self.width}"
            )
