"""Settings of parts that are off unless they are enabled: the live graph and the sequence tower."""

from dataclasses import dataclass

__all__ = ["LiveGraphSettings", "SequenceSettings"]


@dataclass(frozen=True, kw_only=True)
class LiveGraphSettings:
    """The live graph (ADR 94): changed rows have HGNN vectors of the counts as they are now.

    Needs `trainer.rows_every_steps`. Training and bundles read the static bundle's vectors.

    enabled: count the pairs of items that events add, and send rows whose vectors change. The
        static job then puts its item-item counts into the bundle.
    most_items: items whose new neighbours are taken over at most when rows are sent; the others
        wait for the next time. New items come in addition.
    most_counts: pairs of items that are counted at most, 12 bytes each; of more, each item keeps
        those with the greatest weights as edges. A static bundle with more counts has none.
    threshold: change of a layer's values, as a share of their length, up to which an item keeps
        those that it has.
    """

    enabled: bool = False
    most_items: int = 20_000
    most_counts: int = 5_000_000
    threshold: float = 0.001


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
