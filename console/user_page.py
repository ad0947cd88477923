"""A user's list with the reasons for each place."""

from typing import Any

from console import state_reads
from console.replica import Replica
from console.serving import Serving, Wanted
from dynamic_layer import UserState
from state import item_key

__all__ = ["user_page"]

#: History entries with the most users in common that are shown for a place.
TOGETHER = 3


async def user_page(
    replica: Replica, serving: Serving, user: UserState, types: tuple[str, ...], k: int
) -> dict[str, Any]:
    """The list of a user as JSON values: scores, and the reasons for each item's rank.

    Why: the parts of the score (`Explanation`), which sum to it; the nearest items of the history;
    those that most users had together with this one. `by_head` says whether the ranking head ranked
    the list.
    """
    page = await serving.page(user, Wanted(types=types, k=k, explain=True))
    reasons = [placed.why for placed in page.items]
    history = {int(key) for key in user.history_item.tolist()}
    counted = []
    for placed in page.items:
        users, near = await state_reads.neighbours(replica, placed.item_type, placed.item_id)
        together = sorted(((near[key], key) for key in history & near.keys()), reverse=True)
        counted.append((users, together[:TOGETHER]))
    named = {
        key
        for reason, (_, together) in zip(reasons, counted, strict=True)
        for key in [
            *(n.item_key for n in (reason.nearest if reason else ())),
            *(key for _, key in together),
        ]
    }
    names = state_reads.names(replica, named)

    def shown(key: int) -> dict[str, Any]:
        item_type, item_id = names.get(key, ("", ""))
        title = state_reads.title(replica, item_type, item_id) if item_type else None
        return {"item_type": item_type, "item_id": item_id, "title": title or item_id}

    return {
        "arm": replica.channels.arms.of(user.user_id),
        "generation": page.generation,
        "by_head": page.by_head,
        "cold": not serving.knows_any(user),
        "recommended": [
            {
                "item_type": placed.item_type,
                "item_id": placed.item_id,
                "key": str(item_key(placed.item_type, placed.item_id)),
                "title": state_reads.title(replica, placed.item_type, placed.item_id)
                or placed.item_id,
                "score": placed.score,
                "users": users,
                "parts": reason.parts if reason else {},
                "new": bool(reason and reason.cold),
                "nearest": [
                    shown(near.item_key) | {"cosine": round(near.cosine, 4)}
                    for near in (reason.nearest if reason else ())
                ],
                "together": [shown(key) | {"users": count} for count, key in together],
            }
            for placed, reason, (users, together) in zip(page.items, reasons, counted, strict=True)
        ],
    }
