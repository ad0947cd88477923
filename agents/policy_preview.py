"""What a policy would change: the lists of some users before and after it, and their quality.

Quality is measured on held-out questions: of each user the item that was taken last is the answer,
the list is made as of just before, and nothing that the user did from then on is in the history.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from agents.policy_text import PolicyFile
from dynamic_layer import (
    EVERY_LIST,
    Answer,
    ListSettings,
    Policies,
    Policy,
    Ranking,
    Recommender,
    UserState,
    answer_of,
    effect_of,
)

__all__ = [
    "Asked", "BothSides", "Question", "asked_of_both", "compared", "lists_of_both", "questions_of",
    "with_effects", "with_list_of",
]  # fmt: skip

BothSides = tuple[list[dict[str, Ranking]], list[dict[str, Ranking]]]
"""Lists of each user by name, before and after."""
Asked = dict[str, tuple[Answer, Answer]]
"""Answers to one question by list, before and after; lists of other types are not in it."""

#: Answers that lie longer before the newest one are not asked about, in days.
RECENT_DAYS = 30
_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """A held-out question.

    user: as they were at the list's moment at_ms, ms UTC; answer: key of the item that they took
    1 ms later.
    """

    user: UserState
    answer: np.uint64
    at_ms: int


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


def questions_of(users: Sequence[UserState], bucket_ms: int) -> list[Question]:
    """Return a question of each user who took an item lately, oldest first.

    The answer is the item with the user's latest strong event. Entries of the history whose latest
    event is not before it are hidden, and impressions in buckets of `bucket_ms` that end after it.
    An item that the user had taken before is hidden with its whole past: states know the latest
    event alone.
    """
    found = []
    for user in users:
        strong = user.history_strong_time
        times = np.where(user.history_strong, user.history_time if strong is None else strong, -1)
        if not len(times) or times.max() < 0:
            continue
        answer, at = user.history_item[times.argmax()], int(times.max())
        found.append(
            Question(user=_just_before(user, at, answer, bucket_ms), answer=answer, at_ms=at - 1)
        )
    newest = max((one.at_ms for one in found), default=0)
    recent = [one for one in found if one.at_ms > newest - RECENT_DAYS * _DAY_MS]
    return sorted(recent, key=lambda one: (one.at_ms, one.user.user_id))


def _just_before(user: UserState, at_ms: int, answer: np.uint64, bucket_ms: int) -> UserState:
    kept = (user.history_time < at_ms) & (user.history_item != answer)
    strong, known, shown = user.history_strong_time, user.history_known, user.shown
    if shown is not None:
        over = shown.begin + bucket_ms <= at_ms
        shown = replace(
            shown, items=shown.items[over], begin=shown.begin[over], count=shown.count[over]
        )
    return replace(
        user,
        history_item=user.history_item[kept],
        history_time=user.history_time[kept],
        history_strong=user.history_strong[kept],
        history_strong_time=None if strong is None else strong[kept],
        history_known=None if known is None else known[kept],
        shown=shown,
    )


def asked_of_both(
    recommender: Recommender,
    questions: Sequence[Question],
    lists: Sequence[ListSettings],
    in_force: Policies,
    policy: PolicyFile,
) -> list[Asked]:
    """Ask each question at its moment, under the policies in force and with one instead.

    Questions whose answers the recommender does not know have no answers. Raises PolicyError.
    """
    known = recommender.knows(np.array([one.answer for one in questions], np.uint64))
    found: list[Asked] = []
    for question, there in zip(questions, known.tolist(), strict=True):
        if not there:
            found.append({})
            continue
        names = recommender.type_of(question.answer)
        own = [
            one for one in lists
            if one.repeats != "only" and (not one.item_types or names in one.item_types)
        ]  # fmt: skip
        sides = lists_of_both(recommender, [question.user], own, question.at_ms, in_force, policy)
        before, after = (
            {one.name: _answer(recommender, side[0][one.name], question.answer) for one in own}
            for side in sides
        )
        found.append({name: (before[name], after[name]) for name in before})
    return found


def _answer(recommender: Recommender, ranking: Ranking, answer: np.uint64) -> Answer:
    rows = np.array(ranking.rows, np.int64)
    return answer_of(recommender.keys[rows], recommender.index.vectors(rows)[:, :-1], answer)


def with_effects(preview: dict[str, Any], asked: Sequence[Asked], catalogue: int) -> dict[str, Any]:
    """Return a preview of `compared` with the effect on each list, as JSON values.

    effect: see `ListEffect`; None for a list that was asked nothing. catalogue: number of items.
    """
    lists = {}
    for name, sums in preview["lists"].items():
        own = [answers[name] for answers in asked if name in answers]
        effect = effect_of([one for one, _ in own], [one for _, one in own], catalogue)
        lists[name] = {**sums, "effect": None if effect is None else asdict(effect)}
    return {**preview, "lists": lists}
