"""New items in lists: whom they match, and what a list shows of them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.lists.asking import Asking
from dynamic_layer.policies.exploration import Choice, chances, choose
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.rules import Explore
from dynamic_layer.serving.rankings import UserState
from dynamic_layer.serving.reasons import Explored, Options
from state import ShownItems

__all__ = ["Candidates", "Question", "explored", "matches"]

#: Newest entries of a history that are compared with a new item, and how many of them have to be
#: near it. Of the simulated world's 15 users with the best match, 35 % were fans of the item; 22 %
#: with the nearest entry alone, 22 % with five entries, 21 % by the towers.
ENTRIES, NEAREST = 20, 3


class Candidates(NamedTuple):
    """New items that a list may hold: rows i64 [n], draws f64 [n, DRAWS] of what each is worth."""

    rows: NDArray[np.int64]
    draws: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Users who ask for one list, under a rule.

    keys: u64 [items], of all items; texts: unit text vectors of rows.
    """

    rule: Explore
    list_name: str
    users: Sequence[UserState]
    asked: Asking
    keys: NDArray[np.uint64]
    texts: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    now_ms: int


def explored(
    question: Question,
    found: Hits,
    candidates: Candidates,
    in_force: InForce,
    fixed: Collection[int],
    fits: Callable[[NDArray[np.int64], NDArray[np.int64]], bool],
) -> tuple[Hits, list[tuple[Explored, ...]]]:
    """Return the lists with what they explore, and what was decided about places.

    A new item takes the place and the score of the item that stood there; nothing else moves.
    fixed: places that stay as they are; fits: whether the rows of a list, the second argument, may
    become others, the first one.
    """
    rule, k = question.rule, found.rows.shape[1]
    width = min(rule.position, k)
    free = [place for place in range(width - 1, -1, -1) if place not in fixed][: rule.slots]
    if not len(candidates.rows) or not free:
        return found, [()] * len(found.rows)
    rows, scores = found.rows.copy(), found.scores.copy()
    history = _newest(question.asked)
    match = matches(
        question.texts(np.maximum(history, 0)), history >= 0, question.texts(candidates.rows)
    )
    barred = _barred(question, found.rows[:, :width], candidates.rows)
    left, budget = np.where(barred, np.nan, match), rule.share * width / len(free)
    rarity = in_force.rarity[question.list_name]
    chosen = _choices(question, left, candidates, in_force, budget, len(free))
    decided = [
        tuple(_put(rows[user], scores[user], free, of_user, candidates.rows, match[user], fits))
        for user, of_user in enumerate(chosen)
    ]
    shown = sum(one.new for places in decided for one in places)
    drawn = sum(choice.item >= 0 for of_user in chosen for choice in of_user)
    expected = sum(float(choice.of_items.sum()) for of_user in chosen for choice in of_user)
    # What other rules keep out was drawn, but is not explored.
    rarity.spend(rule.share * width * len(rows), expected - (drawn - shown), shown)
    return Hits(rows, scores), decided


def _put(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    places: Sequence[int],
    chosen: Sequence[Choice],
    items: NDArray[np.int64],
    match: NDArray[np.float64],
    fits: Callable[[NDArray[np.int64], NDArray[np.int64]], bool],
) -> Iterator[Explored]:
    """Put what was chosen into a list, i64 [k] and f32 [k], and yield what was decided.

    items: i64 [n], rows of the candidates; match: f64 [n], see `Options`.
    """
    before = rows.copy()
    for wanted, choice in zip(places, chosen, strict=True):
        held = int((rows >= 0).sum())
        place = min(wanted, held)
        options = Options(items, choice.of_items, int(before[place]), choice.of_none, match)
        changed = rows if choice.item < 0 else _with_item(rows, place, int(items[choice.item]))
        if choice.item >= 0 and fits(changed[changed >= 0], before):
            rows[:] = changed
            if place == held:
                scores[place] = scores[place - 1] if place else 0.0
            yield Explored(place, True, choice.propensity, options)
        elif place < held:
            yield Explored(place, False, choice.of_none, options)


def _with_item(rows: NDArray[np.int64], place: int, item: int) -> NDArray[np.int64]:
    """Return a list with an item at a place; if it is in the list, both change places."""
    changed = rows.copy()
    changed[rows == item] = rows[place]
    changed[place] = item
    return changed


def _barred(
    question: Question, listed: NDArray[np.int64], new: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which new items users know, must not get, have in the list or saw often, [b, n]."""
    barred = _known(question.asked, listed, new, len(question.keys))
    for place, user in enumerate(question.users):
        if user.shown is not None and len(user.shown):
            barred[place] |= _often_shown(user.shown, question.keys[new], question.rule.showings)
    return barred


def _choices(
    question: Question,
    match: NDArray[np.float64],
    new: Candidates,
    in_force: InForce,
    budget: float,
    slots: int,
) -> list[list[Choice]]:
    """Return what is explored for each user, at each slot.

    match: f64 [b, n], NaN for what a user must not get; budget: items to be shown by a list at a
    slot, on average.
    """
    keys = question.keys[new.rows]
    rarity = in_force.rarity[question.list_name]
    rarity.add(keys, match, question.now_ms)
    chance = chances(rarity(keys, match), new.draws, budget * rarity.correction)
    found = []
    for user, of_user in zip(question.users, chance, strict=True):
        newest = int(user.history_time[0]) if len(user.history_time) else 0
        generator = in_force.generator(user.user_id, question.list_name, newest)
        found.append(choose(of_user, slots, generator))
    return found


def matches(
    history: NDArray[np.float32], there: NDArray[np.bool_], items: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return how well histories match items, f64 [b, n]: mean cosine of the nearest entries.

    history: f32 [b, h, d] and items: f32 [n, d], unit vectors; there: bool [b, h]. A history of
    fewer entries than are to be near matches less well, one without any not at all (-1).
    """
    cosine = np.where(there[:, :, None], history @ items.T, np.float32(-1.0))
    if cosine.shape[1] < NEAREST:
        more = ((0, 0), (0, NEAREST - cosine.shape[1]), (0, 0))
        cosine = np.pad(cosine, more, constant_values=-1.0)
    best = np.partition(cosine, -NEAREST, axis=1)[:, -NEAREST:]
    return np.asarray(best.mean(axis=1), np.float64)


def _known(
    asked: Asking, listed: NDArray[np.int64], new: NDArray[np.int64], items: int
) -> NDArray[np.bool_]:
    """Return which new items a user knows, must not get, or has in the list anyway, bool [b, n]."""
    column = np.full(items + 1, -1, np.int64)  # the last one stands for no item
    column[new] = np.arange(len(new))
    found = np.zeros((len(listed), len(new) + 1), np.bool_)
    users = np.arange(len(listed))
    found[users[:, None], column[np.concatenate([asked.barred, listed], axis=1)]] = True
    entries = np.repeat(users, np.diff(asked.histories.indptr))
    found[entries, column[asked.histories.item]] = True
    return found[:, :-1]


def _newest(asked: Asking) -> NDArray[np.int64]:
    """Return the rows of the newest entries of histories, i64 [b, ENTRIES], -1 for none."""
    own = asked.histories.newest(ENTRIES)
    sizes = np.diff(own.indptr)
    rows = np.full((len(sizes), ENTRIES), -1, np.int64)
    rows[np.arange(ENTRIES) < sizes[:, None]] = own.item
    return rows


def _often_shown(shown: ShownItems, keys: NDArray[np.uint64], times: int) -> NDArray[np.bool_]:
    """Return which items were shown to a user so often already, bool [n]."""
    items, place = np.unique(shown.items, return_inverse=True)
    often = items[np.bincount(place, shown.count, len(items)) >= times]
    return np.isin(keys, often)
