"""Why an item stands in a user's list, and what is near: read from one recommender."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.items.features import COUNTRIES, bucket_of
from dynamic_layer.lists.asking import Asking
from dynamic_layer.lists.demotion import demoted
from dynamic_layer.lists.served_features import MIXED, ListWatch
from dynamic_layer.serving.rankings import Ranking, UserState
from dynamic_layer.serving.reasons import Explanation, Near, RuleEffect
from dynamic_layer.serving.recommender import Recommender
from dynamic_layer.settings import SEPARATE_TYPES, ListSettings

__all__ = ["NEAREST", "answered", "explain", "search_text", "similar"]

#: Items of the history that the reasons of a place name.
NEAREST = 3


def answered(
    recommender: Recommender,
    users: Sequence[UserState],
    lists: Sequence[ListSettings],
    now_ms: int,
    *,
    fewer: int,
) -> list[dict[str, Ranking]]:
    """Return what `Recommender.recommend` does, with reasons in the lists that are to have them.

    fewer: see `Recommender.recommend`; without reasons where it is above 1.
    """
    with_reasons = [] if fewer != 1 else [settings for settings in lists if settings.explain]
    plain = [settings for settings in lists if settings not in with_reasons]
    found = recommender.recommend(users, plain, now_ms, fewer=fewer)
    if not with_reasons:
        return found
    for user, rankings in zip(users, found, strict=True):
        for settings in with_reasons:
            rankings[settings.name] = explain(
                recommender, user, settings, end=settings.k, now_ms=now_ms
            )
    return [{settings.name: own[settings.name] for settings in lists} for own in found]


def explain(
    recommender: Recommender,
    user: UserState,
    settings: ListSettings,
    *,
    first: int = 0,
    end: int,
    nearest: int = NEAREST,
    now_ms: int,
) -> Ranking:
    """Return a user's list with the reasons for its places from `first` to before `end`."""
    watch = ListWatch()
    [answer] = recommender.recommend([replace(user, watch=watch)], [settings], now_ms)
    ranking = answer[settings.name]
    rows = np.array(ranking.rows[first:end], np.int64)
    scores = ranking.scores[first:end].tolist()
    batch = recommender.batch([user], now_ms)
    effects, filtered = recommender.rule_effects(batch, settings, rows, first)
    for one in ranking.explored:
        if one.new and first <= one.place < first + len(rows):
            effects[one.place - first] += (RuleEffect("explore", "", 0.0, one.propensity),)
    if not len(rows):
        return replace(ranking, filtered=filtered)
    asked = batch.asked
    types = recommender.search.type_numbers(settings.item_types)
    if not batch.personal[0]:
        parts = _by_demand(recommender, user, types, rows, now_ms)
    elif ranking.by_head or watch.popular.keys() >= set(types):
        parts = _by_type(recommender, watch, asked, types, rows)
    else:
        parts = _by_towers(recommender, asked, rows)
    _add_dislikes(recommender, asked, rows, parts)
    if recommender.policy_of(settings.name) is not None:
        for part, score in zip(parts, scores, strict=True):
            part["rules"] = score - sum(part.values())
    near = _nearest(recommender, user, rows, nearest)
    cold = rows >= len(recommender.bundle.item_keys)
    why = [
        Explanation(parts=parts[m], rules=effects[m], cold=bool(cold[m]), nearest=near[m])
        for m in range(len(rows))
    ]
    return replace(ranking, why=tuple(why), filtered=filtered)


def _by_type(
    recommender: Recommender,
    watch: ListWatch,
    asked: Asking,
    types: list[int],
    rows: NDArray[np.int64],
) -> list[dict[str, float]]:
    """Return the parts of items whose types a head or popularity ranked.

    There are none of an item that a policy brought in.
    """
    head, keys = recommender.head, recommender.keys[rows]
    numbers = recommender.features.type_number.numpy()[rows]
    parts: list[dict[str, float]] = [{} for _ in rows]
    for place, (number, row) in enumerate(zip(numbers.tolist(), rows.tolist(), strict=True)):
        if row in (scores := watch.popular.get(number, {})):
            parts[place] = {"popularity": scores[row]}
    if head is None:
        return parts
    for seen in watch.found:
        of_type = (seen.number == MIXED) | (numbers == seen.number)
        mine = np.flatnonzero(of_type & np.isin(keys, seen.candidates))
        for place, found in zip(mine.tolist(), head.explained(seen, keys[mine]), strict=True):
            parts[place] = found
    if 1 < len(types) <= SEPARATE_TYPES:
        none = Hits(np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32))
        shares = head.across(asked.histories, types, [none] * len(types))
        share = {n: float(part.scores[0, 0]) for n, part in zip(types, shares, strict=True)}
        for part, number in zip(parts, numbers.tolist(), strict=True):
            if part:
                part["type"] = share[number]
    return parts


def _by_towers(
    recommender: Recommender, asked: Asking, rows: NDArray[np.int64]
) -> list[dict[str, float]]:
    """Return the parts of items that towers and popularity ranked."""
    served = recommender.served_vectors(rows)
    affinity = served[:, :-1] @ asked.queries[0, :-1]
    return [
        {"affinity": near, "popularity": bias}
        for near, bias in zip(affinity.tolist(), served[:, -1].tolist(), strict=True)
    ]


def _by_demand(
    recommender: Recommender,
    user: UserState,
    types: list[int],
    rows: NDArray[np.int64],
    now_ms: int,
) -> list[dict[str, float]]:
    """Return the part of items that recent demand in the user's market ranked."""
    market = int(bucket_of([user.country], COUNTRIES)[0])
    # Rules may have brought in items from anywhere in that order.
    best, worth = recommender.search.popular(market, types, len(recommender), now_ms)
    found = dict(zip(best.tolist(), worth.tolist(), strict=True))
    return [{"popularity": found[row]} if row in found else {} for row in rows.tolist()]


def _add_dislikes(
    recommender: Recommender,
    asked: Asking,
    rows: NDArray[np.int64],
    parts: list[dict[str, float]],
) -> None:
    if not asked.disliked.shape[1]:
        return
    none = Hits(rows[None], np.zeros((1, len(rows)), np.float32))
    for part, lost in zip(
        parts, demoted(none, asked, recommender.index).scores[0].tolist(), strict=True
    ):
        if part and np.isfinite(lost):
            part["dislikes"] = lost


def _nearest(
    recommender: Recommender, user: UserState, rows: NDArray[np.int64], count: int
) -> list[tuple[Near, ...]]:
    """Return the items of the history nearest to each row."""
    history = recommender.rows(user.history_item)
    known = history[history >= 0]
    cosine = _space(recommender, rows) @ _space(recommender, known).T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    named = recommender.ranking(known.tolist(), np.zeros(len(known), np.float32))
    return [
        tuple(
            Near(int(recommender.keys[known[h]]), named.item_types[h], named.item_ids[h],
                 float(cosine[m, h]))
            for h in order[m].tolist()
        )
        for m in range(len(rows))
    ]  # fmt: skip


def similar(
    recommender: Recommender, item_key: int, item_types: Sequence[str], k: int
) -> Ranking | None:
    """Return the items nearest to one, by cosine in the towers' space; None if it is unknown."""
    rows = recommender.rows(np.array([item_key], np.uint64))
    if rows[0] < 0:
        return None
    vectors = recommender.served_vectors(rows)[:, :-1]
    return recommender.nearest(vectors, item_types, k, rows[:, None])[0]


def search_text(
    recommender: Recommender, text: NDArray[np.float32], item_types: Sequence[str], k: int
) -> Ranking:
    """Return the items nearest to a text f32 [dt], best first.

    The text is placed in the shared space as an item without events, once in each type's way.
    """
    bundle = recommender.bundle
    types = [name for name in bundle.types if not item_types or name in item_types]
    if not types:
        return recommender.ranking([], np.zeros(0, np.float32))
    _, vectors = bundle.embed(
        item_types=types,
        languages=[None] * len(types),
        genres=[None] * len(types),
        text=np.repeat(text[None, :], len(types), axis=0),
    )
    found = [
        recommender.nearest(vectors[place : place + 1], [name], k)[0]
        for place, name in enumerate(types)
    ]
    rows = [row for ranking in found for row in ranking.rows]
    scores = np.concatenate([ranking.scores for ranking in found])
    best = np.argsort(-scores, kind="stable")[:k]
    return recommender.ranking([rows[place] for place in best], scores[best])


def _space(recommender: Recommender, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return unit vectors f32 [m, d]: the HGNN's part of the content, or all of it."""
    bundle = recommender.bundle
    first = bundle.hgnn.text_width if bundle.hgnn is not None else 0
    content = recommender.features.content.numpy()[np.maximum(rows, 0), first:]
    norm = np.linalg.norm(content, axis=1, keepdims=True)
    return np.asarray(content / np.maximum(norm, 1e-9), np.float32)
