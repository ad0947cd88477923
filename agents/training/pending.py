"""A bundle that was made and is not judged yet: the gate's questions come after it."""

from dataclasses import dataclass
from typing import Self

from agents.training.cadence import COMPARED
from dynamic_layer import DynamicBundle, PaddedExamples, Trainer

__all__ = ["Pending"]

#: Later questions that are enough: the gate asks so many first.
ENOUGH = 2_048


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A candidate for the gate.

    made_at: when it was made, in ticks, ms; resting: whether nothing was left to learn then.
    first, numbered: number of the first held-out example that came after it, and which numbering
    of the memory that is.
    """

    bundle: DynamicBundle
    made_at: int
    resting: bool
    first: int
    numbered: int

    @classmethod
    def of(cls, bundle: DynamicBundle, trainer: Trainer, *, now_ms: int, resting: bool) -> Self:
        """Note what a trainer has held out as a candidate is made."""
        memory = trainer.memories["holdout"]
        return cls(
            bundle=bundle, made_at=now_ms, resting=resting,
            first=memory.written, numbered=memory.numbered,
        )  # fmt: skip

    def later(self, trainer: Trainer) -> int:
        """Return how many held-out examples came after the candidate was made."""
        memory = trainer.memories["holdout"]
        if memory.numbered != self.numbered:
            return 0
        return min(memory.written - self.first, len(memory))

    def ready(self, trainer: Trainer, now_ms: int, *, settle_s: float, within_s: float) -> bool:
        """Whether the gate can judge: enough came, nothing comes, or it has waited for long.

        settle_s: time after which nothing comes; within_s: longest time to wait.
        """
        waited_ms, later = now_ms - self.made_at, self.later(trainer)
        return (
            later >= ENOUGH
            or waited_ms >= within_s * 1000
            or (later == 0 and waited_ms >= settle_s * 1000)
        )

    def questions(self, trainer: Trainer) -> tuple[PaddedExamples, bool]:
        """Return held-out examples, and whether they all came after the candidate was made.

        Where too few came to compare two bundles, all that are held out.
        """
        memory, later = trainer.memories["holdout"], self.later(trainer)
        if later < COMPARED:
            return trainer.holdout(), False
        return memory.take(memory.numbers()[-later:]), True
