"""What a policy would change: the lists of some users before and after it."""

from collections.abc import Callable, Sequence
from typing import Any

from agents.policy_text import PolicyFile
from dynamic_layer import (
    EVERY_LIST,
    ListSettings,
    Policies,
    Policy,
    Ranking,
    Recommender,
    UserState,
)

__all__ = ["BothSides", "compared", "lists_of_both", "with_list_of"]

BothSides = tuple[list[dict[str, Ranking]], list[dict[str, Ranking]]]
"""Lists of each user by name, before and after."""


def with_list_of(
    policy: PolicyFile, lists: Sequence[ListSettings], length: int
) -> tuple[ListSettings, ...]:
    """Return lists and, if it is another one, the policy's, of all types and `length` items."""
    if policy.list_name in (EVERY_LIST, *(one.name for one in lists)):
        return tuple(lists)
    return (*lists, ListSettings(name=policy.list_name, k=length))


def lists_of_both(
    recommender: Recommender,
    users: Sequence[UserState],
    lists: Sequence[ListSettings],
    now_ms: int,
    in_force: Policies,
    policy: PolicyFile,
) -> BothSides:
    """Return users' lists under the policies in force, and with one list's policy instead.

    What is in force does not change. Raises PolicyError.
    """
    after = Policies(by_list={**in_force.by_list, policy.list_name: Policy.of(policy.rules)})
    return (
        recommender.recommend(users, lists, now_ms, policies=in_force),
        recommender.recommend(users, lists, now_ms, policies=after),
    )


def compared(
    users: Sequence[UserState],
    lists: Sequence[ListSettings],
    sides: BothSides,
    title: Callable[[str, str], str | None],
) -> dict[str, Any]:
    """Return lists side by side, and sums by list, as JSON values.

    short: lists with fewer items than they may have; changed: share of the items that are others.
    title: of an item by type and id.
    """

    def shown(ranking: Ranking) -> list[dict[str, str]]:
        names = zip(ranking.item_types, ranking.item_ids, strict=True)
        return [
            {"item_type": kind, "item_id": name, "title": title(kind, name) or name}
            for kind, name in names
        ]

    before, after = sides
    found: dict[str, Any] = {"users": [], "lists": {}}
    for user, old, new in zip(users, before, after, strict=True):
        own = {
            one.name: {"before": shown(old[one.name]), "after": shown(new[one.name])}
            for one in lists
        }
        found["users"].append({"user_id": user.user_id, "lists": own})
    for one in lists:
        old_rows = [list(answer[one.name].rows) for answer in before]
        new_rows = [list(answer[one.name].rows) for answer in after]
        gone = [len(set(a) - set(b)) for a, b in zip(old_rows, new_rows, strict=True)]
        found["lists"][one.name] = {
            "short_before": sum(len(rows) < one.k for rows in old_rows),
            "short_after": sum(len(rows) < one.k for rows in new_rows),
            "changed": sum(gone) / max(1, sum(map(len, old_rows))),
        }
    return found
