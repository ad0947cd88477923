"""What exploration gives new items, and what it costs; whether off-policy estimates are right.

    segue bench explore --seed 1 --json var/bench-explore.json

A simulated world, a static bundle and a rested trainer, all as in the demo, on the embedded log.
Then two days of the world's users: after each event its user gets a list of ten over all types,
with and without exploration. The events are the same: users choose as the world has it. Items are
launched evenly. For each one of the first day, its *fans* are the users of whose interests at least
a fifth are the item's topic; those are counted who had any list within a day of the launch.

What it costs is measured twice: HR@10 of the users' next choices, and the expected HR@10 by what a
perfect recommender knows, where the new item counts for nothing: an upper limit of the loss.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.explore_pairs import pairs
from benchmarks.explore_world import END_MS, Arm, Days, Ready, ready
from benchmarks.machine import cpu_model, measured
from segue.screen import console
from simulation import WorldSettings
from state import item_key

__all__ = ["ExplorePlan", "run", "show"]


@dataclass(frozen=True, kw_only=True)
class ExplorePlan:
    """What is measured.

    items, users, events: of the world; launches: items that appear a day; share: of the places that
    explore; fan: least share of a fan's interests that the topic has; pairs: of policies.
    """

    items: int = 2_000
    users: int = 5_000
    events: int = 200_000
    launches: int = 5
    share: float = 0.01
    fan: float = 0.2
    pairs: int = 100
    hgnn_epochs: int = 10
    seed: int = 1


def run(plan: ExplorePlan, file: Path) -> dict[str, Any]:
    """Measure and write the report to `file`."""
    return measured(file, partial(_measure, plan))


def _measure(plan: ExplorePlan, scratch: Path) -> dict[str, Any]:
    settings = WorldSettings(
        items=plan.items, users=plan.users, events=plan.events, end_ms=END_MS,
        reserve=max(200, 4 * plan.launches),
    )  # fmt: skip
    launches = 2 * plan.launches
    with ready(
        settings, scratch, seed=plan.seed, launches=launches, hgnn_epochs=plan.hgnn_epochs
    ) as made:
        days = Days(made, 2 * plan.events // settings.days, plan.seed)
        without, explored = days.run(None), days.run({"explore": {"share": plan.share}})
        return {
            "machine": cpu_model(),
            "cores": os.cpu_count(),
            **asdict(plan),
            "without": _arm(plan, made, days, without),
            "explore": _arm(plan, made, days, explored),
            "expected_cost": round(_expected_cost(made, explored), 5),
            "policies": pairs(made, plan.pairs, plan.seed) if plan.pairs else None,
        }


def _arm(plan: ExplorePlan, made: Ready, days: Days, arm: Arm) -> dict[str, Any]:
    interest = np.stack([one.interest for one in made.launched])
    groups: dict[str, list[bool]] = defaultdict(list)
    for n in days.watched:
        for user in arm.asked[n]:
            had = user in arm.reached[n]
            if interest[n, user] >= plan.fan:
                groups["fans"].append(had)
            elif interest[n, user] == 0:
                groups["others"].append(had)
    launched = {key: n for n, key in enumerate(made.fresh.item_keys.tolist())}
    mine = [(user, launched[key]) for user, key, _ in arm.explored if key in launched]
    return {
        "lists": len(arm.lists),
        "explored": len(arm.explored),
        "explored_share": round(len(arm.explored) / (10 * len(arm.lists)), 5),
        "of_launched": len(mine),
        "of_launched_to_fans": _mean([interest[n, user] >= plan.fan for user, n in mine]),
        "fans": len(groups["fans"]),
        "fans_reached": _mean(groups["fans"]),
        "others_reached": _mean(groups["others"]),
        "questions": len(arm.hits),
        "hr_at_10": _mean(arm.hits),
    }


def _expected_cost(made: Ready, arm: Arm) -> float:
    """Return which part of the expected hits the items had that stood where others are explored."""
    world = made.world
    catalogue = world.catalogue()
    names = zip(*(catalogue[n].to_pylist() for n in ("item_type", "item_id")), strict=True)
    row = {item_key(*name): n for n, name in enumerate(names)}
    users = sorted({user for user, _ in arm.lists})
    ids = world.users()["user_id"].to_pylist()
    types = world.settings.item_types
    chance = sum(world.affinity([ids[user] for user in users], name, END_MS) for name in types)
    place = {user: n for n, user in enumerate(users)}

    def worth(user: int, keys: Sequence[int]) -> float:
        return float(
            np.asarray(chance)[place[user], [row[key] for key in keys if key in row]].sum()
        )

    lost = sum(worth(user, [instead]) for user, _, instead in arm.explored)
    return lost / (sum(worth(user, keys) for user, keys in arm.lists) + lost)


def _mean(values: Sequence[Any]) -> float:
    return round(float(np.mean(values)), 5) if values else 0.0


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    for name in ("without", "explore"):
        one = report[name]
        console.print(
            f"{name}: {one['fans_reached']:.1%} of {one['fans']:,} fans and "
            f"{one['others_reached']:.1%} of others had the new item among the first ten within a "
            f"day; {one['explored_share']:.2%} of the places explored, "
            f"{one['of_launched_to_fans']:.0%} of those of launched items to fans; HR@10 "
            f"{one['hr_at_10']:.4f} ({one['questions']:,} questions)",
            highlight=False,
        )
    console.print(f"expected loss of HR@10: at most {report['expected_cost']:.2%}")
    if found := report["policies"]:
        console.print(
            f"off-policy: the better of two named in {found['right']} of {found['pairs']} pairs "
            f"(doubly robust), {found['right_modelled']} (the model alone), "
            f"{found['right_weighted']} (inverse propensities); the doubly robust interval holds "
            f"the truth for {found['covered']:.0%} of {found['policies']} policies",
            highlight=False,
        )
        for part in found["by_difference"]:
            console.print(
                f"values differ by at most {part['largest']:.1%}: {part['right']} of "
                f"{part['pairs']} pairs",
                highlight=False,
            )
