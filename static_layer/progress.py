"""How the static job tells a person how far it is."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Called often, from the thread that works; must return at once and never raise."""

    def __call__(
        self, stage: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        """Report that `done` of `total` steps of `stage` are finished, with figures to show."""


def silent(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
    """Report nothing."""
