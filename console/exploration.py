"""What lists explore: new items by list, how often they were shown and taken, what is expected."""

from typing import Any

import numpy as np

from dynamic_layer import Recommender, wilson
from dynamic_layer.policies.exploration import parts

__all__ = ["exploration"]

#: Items of a list that are shown, those with the greatest parts.
MOST = 50


def exploration(recommender: Recommender, now_ms: int) -> list[dict[str, Any]]:
    """Return the lists whose policy explores, with their new items.

    share, position, graduate, days: of the rule. new, graduated: numbers of items. shown, taken,
    rate, low and high (its Wilson interval of 95 %): of all new items. items, by part: expected,
    mean of the belief in "taken per shown"; part, of the explored places.
    """
    in_force = recommender.in_force
    policies = {} if in_force is None else in_force.policies.by_list
    found = []
    for name, policy in sorted(policies.items()):
        rule = policy.rules.explore
        if rule is None:
            continue
        new, named = recommender.to_explore(rule, now_ms)
        part = parts(new.draws).mean(axis=1)
        shown, taken = int(new.shown.sum()), int(new.taken.sum())
        low, high = wilson(taken, shown) if shown else (None, None)
        items = [
            {
                "item_type": named.item_types[at], "item_id": named.item_ids[at],
                "shown": int(new.shown[at]), "taken": int(new.taken[at]),
                "expected": float(new.expected[at]), "part": float(part[at]),
            }
            for at in np.argsort(-part, kind="stable")[:MOST].tolist()
        ]  # fmt: skip
        found.append({
            "list": name, "share": rule.share, "position": rule.position, "days": rule.days,
            "graduate": rule.graduate, "new": len(new.rows), "graduated": new.graduated,
            "shown": shown, "taken": taken, "rate": taken / shown if shown else None,
            "low": low, "high": high, "items": items,
        })  # fmt: skip
    return found
