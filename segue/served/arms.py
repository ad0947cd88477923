"""The variants of the product that a run measures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.item_graph import Reads
from segue.served.learning import FROZEN, LEARNERS

__all__ = ["Arm", "arms_of"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One variant of the product.

    head: workers rank with it. reads: what stands beside the text vectors; `text` for nothing,
    `control` for two scalars, which tell what of a gain is no more than popularity.
    sequence: train a sequence tower where `dynamic.sequence` says so.
    learn: when the trainer learns while the test is played, of `LEARNERS`; by default never.
    """

    head: bool = True
    reads: Reads = "hgnn"
    sequence: bool = True
    learn: str = FROZEN

    @property
    def trained(self) -> "Arm":
        """The arm that this one shares its training with."""
        return replace(self, head=True, learn=FROZEN)

    @property
    def name(self) -> str:
        """Name of its rows."""
        head = "" if self.head else " without head"
        return (
            "segue"
            + ("" if self.learn == FROZEN else f" {self.learn}")
            + head
            + {"hgnn": "", "text": " without hgnn", "control": " with scalars"}[self.reads]
            + ("" if self.sequence else " without sequence")
        )


_WITHOUT = {
    "head": Arm(head=False),
    "hgnn": Arm(reads="text"),
    "hgnn:scalars": Arm(reads="control"),
    "sequence": Arm(sequence=False),
}


def arms_of(names: Sequence[str], learn: Sequence[str] = ()) -> list[Arm]:
    """Return the arms of a run: the product, without each part, with each learner.

    Raises ValueError for an unknown part or learner.

    >>> [arm.name for arm in arms_of(["head"], ["frozen", "hourly"])]
    ['segue', 'segue without head', 'segue hourly']
    """
    unknown = [name for name in names if name not in _WITHOUT]
    if unknown:
        known = ", ".join(_WITHOUT)
        raise ValueError(f"expected parts to leave out of {known}; got {', '.join(unknown)}")
    if unknown := [name for name in learn if name not in LEARNERS]:
        raise ValueError(f"expected learners of {', '.join(LEARNERS)}; got {', '.join(unknown)}")
    arms = [Arm(), *(_WITHOUT[name] for name in names), *(Arm(learn=name) for name in learn)]
    return list(dict.fromkeys(arms))
