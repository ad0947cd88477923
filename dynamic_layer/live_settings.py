"""Settings of HGNN vectors that follow the events since the static bundle."""

from dataclasses import dataclass

__all__ = ["LiveGraphSettings"]


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
