"""Data of the quality page: prequential measurements, the gate, click-through, exploration."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from agents.training.quality import EveryChannel
from console.click_through import ClickThrough
from dynamic_layer import KEPT_DAYS
from state import ArtifactStore

__all__ = ["Quality", "router"]

router = APIRouter(prefix="/console", include_in_schema=False)
logger = logging.getLogger(__name__)

#: Newest days and bundles that are shown.
DAYS, BUNDLES = 30, 30
#: The store is asked again after so long, however many are looking.
FRESH_MS = 5_000
_SUMS = (
    "examples",
    "newcomers",
    "hits",
    "reciprocal_ranks",
    "popularity_hits",
    "popularity_reciprocal_ranks",
)
Row = Mapping[str, Any]


def summed(rows: Iterable[Row], by: str) -> list[dict[str, Any]]:
    """Add up rows of the prequential table by `day` or `generation`, item type and arm.

    >>> of = {"item_type": "song", "arm": "default", "generation": 7, "popularity_hits": 1.0}
    >>> of |= dict.fromkeys(("newcomers", "reciprocal_ranks", "popularity_reciprocal_ranks"), 1)
    >>> rows = [of | {"day": day, "examples": 4, "hits": 2.0} for day in ("a", "b")]
    >>> (row,) = summed(rows, "generation")
    >>> row["generation"], row["examples"], row["hr_at_10"]
    (7, 8, 0.5)
    """
    sums: dict[tuple[Any, str, str], dict[str, float]] = {}
    for row in rows:
        total = sums.setdefault((row[by], row["item_type"], row["arm"]), dict.fromkeys(_SUMS, 0))
        for name in _SUMS:
            total[name] += row[name]
    return [
        {
            by: key, "item_type": item_type, "arm": arm, "examples": total["examples"],
            "hr_at_10": total["hits"] / total["examples"],
            "mrr": total["reciprocal_ranks"] / total["examples"],
            "popularity_hr_at_10": total["popularity_hits"] / total["examples"],
            "popularity_mrr": total["popularity_reciprocal_ranks"] / total["examples"],
        }
        for (key, item_type, arm), total in sorted(sums.items())
        if total["examples"]
    ]  # fmt: skip


class Quality:
    """Reads the trainer's measurements in the artifact store; past days are read once."""

    def __init__(
        self,
        store: ArtifactStore,
        clock_ms: Callable[[], int],
        click_through: ClickThrough | None = None,
        explored: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        """clock_ms: the time; where there is a replica, what is shown and taken, and explored."""
        self._click_through, self._explored = click_through, explored
        self._quality = EveryChannel(store, keep_days=KEPT_DAYS)
        self._clock_ms = clock_ms
        self._view: dict[str, Any] = {}
        self._read_at: int | None = None
        self._reading = asyncio.Lock()

    async def view(self) -> dict[str, Any]:
        """Figures by day and by bundle, and decisions, newest first; `problem` where some lack.

        click_through: see `ClickThrough.view`. exploration: see `exploration`.
        """
        async with self._reading:
            now = self._clock_ms()
            if self._read_at is None or not 0 <= now - self._read_at < FRESH_MS:
                view = await asyncio.to_thread(self._look)
                view["exploration"] = await self._explored() if self._explored else []
                self._view = view
                self._read_at = now
            return self._view

    def _look(self) -> dict[str, Any]:
        rows: Sequence[Row] = []
        decisions: list[dict[str, Any]] = []
        problem = None
        try:
            rows, decisions = self._quality.rows(DAYS), self._quality.decisions()
        except (OSError, ValueError) as error:
            logger.error("the trainer's measurements cannot be read: %s", error)
            problem = "The artifact store cannot be read; the console's log says why."
        return {
            "days": summed(rows, "day"),
            "bundles": summed(_of_newest_bundles(rows), "generation"),
            "decisions": decisions[::-1],
            "problem": problem,
            "click_through": self._click_through and self._click_through.view(),
        }


def _of_newest_bundles(rows: Sequence[Row]) -> list[Row]:
    """Rows of the newest bundles of each arm: channels number theirs apart."""
    of_arm: dict[str, set[int]] = {}
    for row in rows:
        of_arm.setdefault(row["arm"], set()).add(row["generation"])
    first = {arm: sorted(numbers)[-BUNDLES:][0] for arm, numbers in of_arm.items()}
    return [row for row in rows if row["generation"] >= first[row["arm"]]]


async def _quality(request: Request) -> Quality:
    found: Quality = request.app.state.quality
    return found


@router.get("/quality")
async def quality(found: Annotated[Quality, Depends(_quality)]) -> Response:
    """What is served, asked about new events before they were learned from, and the gate's word."""
    return Response(msgspec.json.encode(await found.view()), media_type="application/json")
