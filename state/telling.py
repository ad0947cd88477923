"""Which buckets of some counts others have been told, across commits and crashes."""

from collections.abc import Collection, Iterable

from state.demand import Demand, DemandBlock
from state.kernel import U64

__all__ = ["Telling"]


class Telling:
    """Tells changed buckets of counts, and knows which are still to be told.

    To be told before a commit, which notes the rest (`to_note`): a state that is opened again
    knows it.
    """

    def __init__(self, counts: Demand, untold: Iterable[int]) -> None:
        """untold: buckets that the last commit noted."""
        self._counts = counts
        self._noted = frozenset(untold)
        self._untold, self._told = set(self._noted), set[int]()

    def tell(self, first_live: int, keys: U64, first: int = 0) -> list[DemandBlock]:
        """Return the buckets from `first` on that others do not know; they count as told.

        keys: of the partition's item numbers.
        """
        news = self._untold | self._counts.changed(first_live)
        told = sorted(bucket for bucket in news if bucket >= first)
        self._told.update(told)
        self._untold = news.difference(told)
        return self._counts.some(told, first_live, keys)

    @property
    def is_ahead(self) -> bool:
        """Whether buckets were told of which the last commit says otherwise."""
        return not self._told.isdisjoint(self._noted)

    def to_note(self, first_live: int) -> tuple[int, ...]:
        """Return the buckets that a commit notes as untold, ascending."""
        self._untold |= self._counts.changed(first_live) - self._told
        return tuple(sorted(self._untold))

    def committed(self, noted: Collection[int]) -> None:
        """Take what a commit has noted."""
        self._noted = frozenset(noted)
        self._told.clear()
