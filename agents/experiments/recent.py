"""Recent results of an arm and the control, so that a good history cannot hide a decline.

The prequential table has days and bundles, no hours. Repeated reads show the difference of both
arms over the same time, independent of the hour.
"""

from collections import deque
from collections.abc import Hashable, Mapping

from dynamic_layer import Difference, HitCount, difference

__all__ = ["Recent"]

Days = Mapping[str, HitCount]


class Recent:
    """Keeps the results of earlier decisions in memory; a restart starts again."""

    def __init__(self, questions: int) -> None:
        """questions: of either, the newest ones, without which nothing is said."""
        self._questions = max(1, questions)
        self._seen: deque[tuple[Days, Days]] = deque()
        self._since: Hashable = None

    def look(self, control: Days, arm: Days, since: Hashable = None) -> Difference | None:
        """Return arm minus control by the newest questions; None as long as there are too few.

        control, arm: all that was measured until now, by day; since: what evidence counts from,
        another value than before starts again. The window begins at the latest look since which
        enough was asked, so that it is a little longer than that.
        """
        if since != self._since:
            self._seen.clear()
            self._since = since
        self._seen.append((control, arm))
        found = self._since_look(0)
        while len(self._seen) > 1 and self._enough(later := self._since_look(1)):
            self._seen.popleft()
            found = later
        return difference([found]) if self._enough(found) else None

    def _since_look(self, place: int) -> tuple[HitCount, HitCount]:
        """Return what came of control and arm since a look that is remembered."""
        before, now = self._seen[place], self._seen[-1]
        return _between(before[0], now[0]), _between(before[1], now[1])

    def _enough(self, both: tuple[HitCount, HitCount]) -> bool:
        return min(one.questions for one in both) >= self._questions


def _between(before: Days, now: Days) -> HitCount:
    """Return what came between two looks, over the days of the later one.

    A trainer that was killed may have gone back to a checkpoint: less than before counts as none.
    """
    found = HitCount()
    for day, count in now.items():
        known = before.get(day, HitCount())
        questions = max(0.0, count.questions - known.questions)
        hits = min(max(0.0, count.hits - known.hits), questions)
        found = found.plus(HitCount(questions, hits))
    return found
