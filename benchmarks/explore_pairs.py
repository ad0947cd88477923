"""Whether off-policy estimates name the better of two policies, in the simulated world."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.explore_world import END_MS, MIX, Counts, Ready
from dynamic_layer import Policies, Policy, Ranking, Recommender, rules_of
from evaluation.off_policy import Estimates, estimates
from segue.off_policy import Showing, places_of
from state import item_key
from streams import ExploredPlace, Recommendation

__all__ = ["pairs"]

#: Policies that are compared; a pair is two of them.
POLICIES = 15
#: Users whose lists are logged, and lists of each.
USERS, LISTS = 2_500, 6
#: Of the log's policy: more than 1 %, as of an installation that wants to learn.
SHARE = 0.05
#: What is taken: so much of the chance that the user's next choice in the type is the item.
TAKEN = 5.0
BATCH = 64
_TYPES = {"item.number": "number"}


def pairs(made: Ready, count: int, seed: int) -> dict[str, Any]:
    """Return of how many pairs the better one is named, from one log of all users' lists.

    A policy has a share of its own and boosts one third of the launched items, in which the world's
    users differ. Its true value, a shown place, is computed with its own probabilities and the
    world's chances. `by_difference`: of each half of the pairs, the nearer values first.
    """
    rng = np.random.default_rng([seed, count])
    world = _Log(made, rng)
    values, found = [], []
    for _ in range(POLICIES):
        favoured = rng.choice(len(made.launched), max(1, len(made.launched) // 3), replace=False)
        names = ", ".join(str(number) for number in sorted(favoured.tolist()))
        rules = {
            "explore": {"share": float(np.exp(rng.uniform(np.log(0.005), np.log(0.1))))},
            "boost": [{"when": f"item.number in ({names})", "factor": 10.0}],
        }
        rankings = world.rankings(rules)
        values.append(world.value(rankings))
        found.append(world.estimate(rankings))
    every = [(a, b) for a in range(POLICIES) for b in range(a)]
    chosen = [every[n] for n in rng.permutation(len(every))[:count].tolist()]

    def right(name: str, of: Sequence[tuple[int, int]] = chosen) -> int:
        told = [getattr(one, name).value for one in found]
        return sum((told[a] > told[b]) == (values[a] > values[b]) for a, b in of)

    apart = sorted(chosen, key=lambda pair: abs(values[pair[0]] - values[pair[1]]))
    held = [
        one.robust.low <= value <= one.robust.high for one, value in zip(found, values, strict=True)
    ]
    return {
        "pairs": len(chosen),
        "right": right("robust"),
        "right_weighted": right("weighted"),
        "right_modelled": right("modelled"),
        "by_difference": [
            {
                "pairs": len(part),
                "right": right("robust", part),
                "largest": round(max(abs(values[a] / values[b] - 1) for a, b in part), 4),
            }
            for part in (apart[: len(apart) // 2], apart[len(apart) // 2 :])
        ],
        "policies": POLICIES,
        "covered": round(float(np.mean(held)), 3),
        "lists": len(world.lists),
        "taken": int(sum(one.taken for one in world.shown)),
        "values": [round(value, 6) for value in values],
        "estimates": [round(one.robust.value, 6) for one in found],
    }


class _Log:
    """Each user's lists under the log's policy, all places shown, and what was taken of them."""

    def __init__(self, made: Ready, rng: np.random.Generator) -> None:
        names = made.world.users()["user_id"].to_pylist()[:USERS]
        self._users = [made.histories(name) for name in names]
        recommender = made.recommender(None, Counts())
        for number in range(len(made.launched)):
            made.launch(recommender, number, END_MS, number=number)
        self.recommender: Recommender = recommender
        self.rate = _rates(made, recommender, names)
        for _ in range(2):
            self.logged = logged = self.rankings({"explore": {"share": SHARE}})
        self.lists: list[Recommendation] = []
        self.shown: list[Showing] = []
        for number, ranking in enumerate(logged):
            for _ in range(LISTS if ranking.explored else 0):
                rows, explored = _drawn(ranking, rng)
                keys = recommender.keys[rows].tolist()
                taken = rng.random(len(rows)) < self.rate[number, rows]
                self.shown += [
                    Showing(len(self.lists), place, key, bool(one))
                    for place, (key, one) in enumerate(zip(keys, taken, strict=True))
                ]
                self.lists.append(Recommendation(
                    user_id=names[number], list="mix", items=[], generation=1, created_at=END_MS,
                    explored=explored,
                ))  # fmt: skip

    def rankings(self, rules: dict[str, Any]) -> list[Ranking]:
        policy = Policy.of(rules_of({**rules, "types": _TYPES}))
        found: list[Ranking] = []
        for begin in range(0, len(self._users), BATCH):
            users = self._users[begin : begin + BATCH]
            answers = self.recommender.recommend(
                [replace(user, shown=None) for user in users], [MIX], END_MS + 1,
                policies=Policies(by_list={"mix": policy}),
            )  # fmt: skip
            found += [answer["mix"] for answer in answers]
        return found

    def value(self, rankings: list[Ranking]) -> float:
        """What is taken of a place, by the policy's own probabilities where it explores."""
        total = []
        for number, ranking in enumerate(rankings):
            rate = self.rate[number]
            decided = {one.place: one.options for one in ranking.explored}
            for place, row in enumerate(ranking.rows if self.logged[number].explored else ()):
                if place in decided:
                    rows, chance, instead, of_none, _ = decided[place]
                    total.append(float(chance @ rate[rows]) + of_none * float(rate[instead]))
                else:
                    total.append(float(rate[row]))
        return float(np.mean(total))

    def estimate(self, rankings: list[Ranking]) -> Estimates:
        of_lists = [
            ranking
            for ranking, logged in zip(rankings, self.logged, strict=True)
            for _ in range(LISTS if logged.explored else 0)
        ]
        return estimates(places_of(self.lists, self.shown, of_lists, self.recommender))


def _drawn(
    ranking: Ranking, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[ExploredPlace]]:
    """Return what a list shows, rows i64 [k], drawn anew where it explores, and what is logged."""
    found, explored = np.array(ranking.rows, np.int64), []
    for one in ranking.explored:
        rows, chance, instead, of_none, _ = one.options
        drawn = int(np.searchsorted(np.cumsum(chance), rng.random(), side="right"))
        new = drawn < len(rows)
        found[one.place] = rows[drawn] if new else instead
        propensity = float(chance[drawn]) if new else of_none
        explored.append(ExploredPlace(position=one.place + 1, new=new, propensity=propensity))
    return found, explored


def _rates(made: Ready, recommender: Recommender, names: list[str]) -> NDArray[np.float32]:
    """Return how likely each user takes each item that is shown, f32 [users, items by row]."""
    catalogue = made.world.catalogue()
    pairs = zip(*(catalogue[n].to_pylist() for n in ("item_type", "item_id")), strict=True)
    rows = recommender.rows(np.array([item_key(*pair) for pair in pairs], np.uint64))
    rates = np.zeros((len(names), len(recommender.keys)), np.float32)
    for name in made.world.settings.item_types:
        rates[:, rows] += made.world.affinity(names, name, END_MS).astype(np.float32)
    fresh = recommender.rows(made.fresh.item_keys)
    for row, newcomer in zip(fresh.tolist(), made.launched, strict=True):
        # An item without a past: as much as those of its topic on average, of whom it interests.
        alike = rates[:, rows[newcomer.alike]].mean(axis=1)
        rates[:, row] = np.where(newcomer.interest[: len(names)] > 0, alike, 0.0)
    return np.asarray(np.minimum(TAKEN * rates, 0.9), np.float32)
