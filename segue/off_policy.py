"""The value of a policy before it is in force: from lists that explored, and what was taken."""

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from agents.policy_text import PolicyFile
from dynamic_layer import ListSettings, Policies, Policy, Ranking, Recommender, UserState
from evaluation.off_policy import Places, estimates
from evaluation.take_rates import TakeRates
from segue.served_bundle import served, users_of
from segue.settings import Settings
from state import ShownItems, item_key
from streams import ExploredPlace, Recommendation, event_decoders, read_from, readable
from streams.impressions import SHOWN_KIND

__all__ = ["EstimateError", "Log", "Showing", "estimate", "places_of", "showings"]

_DAY_MS = 86_400_000
_BATCH = 64
Progress = Callable[[str, int, int], None]
"""(what, done, of how many)"""


class EstimateError(ValueError):
    """The log does not tell the value of a policy; the message says what is missing."""


class Showing(NamedTuple):
    """A place of a logged list that was shown: list number, place from 0, item key, taken."""

    number: int
    place: int
    item: int
    taken: bool


@dataclass(frozen=True, kw_only=True)
class Log:
    """What was listed, shown and taken.

    lists: with propensities, in order of time. shown: user -> (ms UTC, item key, position from 1),
    in order of time; None where every list counts as shown. taken: (user, item key) -> ms UTC of
    events of the graph kinds, ascending.
    """

    lists: Sequence[Recommendation]
    shown: dict[str, list[tuple[int, int, int]]] | None
    taken: dict[tuple[str, int], list[int]]


async def estimate(
    settings: Settings,
    policy: PolicyFile,
    list_name: str,
    *,
    days: float,
    now_ms: int,
    assume_shown: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Return what the lists of a name that were logged say of a policy's value, as JSON values.

    Lists of the newest `days` days. Raises EstimateError, AdminError, CorruptArtifact.
    """
    log = await _read(settings, list_name, now_ms - round(days * _DAY_MS), progress)
    log = replace(log, shown=None) if assume_shown else log
    found = showings(log, round(settings.state.taken_hours * 3_600_000))
    if not found:
        raise EstimateError(
            "no logged list was shown: read impressions (docs/impressions.md), or use "
            "--assume-shown"
        )
    names = sorted({one.user_id for one in log.lists})
    states = {one.user_id: one for one in await asyncio.to_thread(users_of, settings, names)}
    async with served(settings) as serving:
        policies = Policies(by_list={list_name: Policy.of(policy.rules)})
        own = next((one for one in serving.lists if one.name == list_name), None)
        if own is None:
            raise EstimateError(f"workers make no list {list_name!r}")
        bucket_ms = settings.state.window.bucket_ms
        contexts = [
            _context(states[one.user_id], one, log.shown or {}, bucket_ms) for one in log.lists
        ]
        # Twice: how rare a match is, is known after some hundred lists.
        for _ in range(2):
            rankings = _rankings(serving.recommender, policies, own, contexts, log.lists, progress)
        columns = places_of(log.lists, found, rankings, serving.recommender)
    return {
        "list": list_name, "days": days, "lists": len(log.lists),
        **_json(asdict(estimates(columns))),
    }  # fmt: skip


def _json(figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures with None for what nothing tells."""
    return {
        name: _json(one) if isinstance(one, dict) else None if math.isnan(one) else one
        for name, one in figures.items()
    }


async def _read(settings: Settings, list_name: str, begin_ms: int, progress: Progress) -> Log:
    topics = settings.topics
    progress("read lists", 0, 1)
    lists = [
        said
        for _, said in readable(
            Recommendation, await read_from(settings.kafka, topics.recommendations)
        )
        if said.explored and said.list == list_name and said.created_at >= begin_ms
    ]
    if not lists:
        raise EstimateError(
            f"there is no list {list_name!r} with propensities: apply a policy with `explore` "
            "to it first (docs/explore.md), or name another list with --list"
        )
    decoders = event_decoders(topics.events, settings.sources, settings.events)
    shown: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    taken: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, (topic, decode) in enumerate(decoders.items()):
        progress(f"read {topic}", number, len(decoders))
        by_partition: dict[int, list[Any]] = defaultdict(list)
        for record in await read_from(settings.kafka, topic):
            by_partition[record.partition].append(record)
        for records in by_partition.values():
            batch, _ = decode(records)
            positions = batch.position if batch.position is not None else batch.offset
            rows = zip(
                batch.user_id, batch.item_type, batch.item_id, batch.kind,
                batch.timestamp.tolist(), positions.tolist(), strict=True,
            )  # fmt: skip
            for user, kind_of_item, item, kind, time, position in rows:
                key = item_key(kind_of_item, item)
                if kind == SHOWN_KIND:
                    shown[user].append((time, key, position))
                elif kind in settings.state.graph_kinds:
                    taken[user, key].append(time)
    return Log(
        lists=sorted(lists, key=lambda one: one.created_at),
        shown={user: sorted(rows) for user, rows in shown.items()},
        taken={pair: sorted(times) for pair, times in taken.items()},
    )


def showings(log: Log, taken_ms: int) -> list[Showing]:
    """Return the places of logged lists that were shown, each once, and whether they were taken.

    An impression is of the user's newest list before it, where it names the item of its place.
    """
    by_user: dict[str, list[int]] = defaultdict(list)
    for number, said in enumerate(log.lists):
        by_user[said.user_id].append(number)
    found: dict[tuple[int, int], Showing] = {}

    def add(number: int, place: int, key: int, time: int) -> None:
        times = log.taken.get((log.lists[number].user_id, key), [])
        next_one = bisect_right(times, time - 1)
        taken = next_one < len(times) and times[next_one] <= time + taken_ms
        found.setdefault((number, place), Showing(number, place, key, taken))

    for user, numbers in by_user.items():
        if log.shown is None:
            for number in numbers:
                for place, key in enumerate(_keys(log.lists[number])):
                    add(number, place, key, log.lists[number].created_at)
            continue
        made = [log.lists[number].created_at for number in numbers]
        for time, key, position in log.shown.get(user, []):
            newest = bisect_right(made, time) - 1
            keys = _keys(log.lists[numbers[newest]]) if newest >= 0 else []
            if 1 <= position <= len(keys) and keys[position - 1] == key:
                add(numbers[newest], position - 1, key, time)
    return list(found.values())


def _keys(said: Recommendation) -> list[int]:
    return [item_key(item.item_type, item.item_id) for item in said.items]


def _context(
    state: UserState,
    said: Recommendation,
    shown: dict[str, list[tuple[int, int, int]]],
    bucket_ms: int,
) -> UserState:
    """Return a user as known when a list was made.

    An item whose newest event is later is not in the history. bucket_ms: of the state's window.
    """
    at = said.event_timestamp or said.created_at
    there = state.history_time <= at
    before = [one for one in shown.get(said.user_id, []) if one[0] < said.created_at]
    strong, known = state.history_strong_time, state.history_known
    return replace(
        state,
        history_item=state.history_item[there],
        history_time=state.history_time[there],
        history_strong=state.history_strong[there],
        history_known=None if known is None else known[there],
        history_strong_time=None if strong is None else strong[there],
        shown=ShownItems(
            items=np.array([key for _, key, _ in before], np.uint64),
            begin=np.array([time for time, _, _ in before], np.int64) // bucket_ms * bucket_ms,
            count=np.ones(len(before), np.int64),
            bucket_ms=bucket_ms,
        ),
    )


def _rankings(
    recommender: Recommender,
    policies: Policies,
    own: ListSettings,
    contexts: Sequence[UserState],
    lists: Sequence[Recommendation],
    progress: Progress,
) -> list[Ranking]:
    found: list[Ranking] = []
    for begin in range(0, len(contexts), _BATCH):
        progress("make lists", begin, len(contexts))
        part = slice(begin, begin + _BATCH)
        answers = recommender.recommend(
            contexts[part], [own], lists[part][-1].created_at, policies=policies
        )
        found += [answer[own.name] for answer in answers]
    return found


def places_of(
    lists: Sequence[Recommendation],
    shown: Sequence[Showing],
    rankings: Sequence[Ranking],
    recommender: Recommender,
) -> Places:
    """Return the shown places with their probabilities in the lists of another policy.

    lists: as logged; rankings: of the other policy, for the same users at the same times. An item
    that the other policy has at another shown place of the list counts as shown there.
    """
    _, user = np.unique([lists[one.number].user_id for one in shown], return_inverse=True)
    row: list[int] = recommender.rows(np.array([one.item for one in shown], np.uint64)).tolist()
    rarity = _rarities(rankings)
    places: dict[int, set[int]] = defaultdict(set)
    for one in shown:
        places[one.number].add(one.place)
    wanted = {number: _Wanted.of(rankings[number], at) for number, at in places.items()}
    propensity, target = np.ones(len(shown)), np.zeros(len(shown))
    asked: list[tuple[int, int, float, float]] = []
    rare = np.full(len(shown), np.nan)
    for n, one in enumerate(shown):
        of_items = rarity[id(rankings[one.number])]
        slots = {logged.position - 1: logged for logged in lists[one.number].explored}
        if one.place in slots:
            propensity[n] = slots[one.place].propensity
        own = wanted[one.number]
        if row[n] >= 0:
            target[n] = _counted(one.place, slots, own.places_of.get(row[n], []))
        rare[n] = of_items.get(row[n], np.nan)
        for option, chance in own.items_at[one.place]:
            asked.append((n, option, of_items.get(option, np.nan), chance))
    reward = np.array([one.taken for one in shown], np.float64)
    item = np.array(row, np.int64)
    model = TakeRates(user, item, reward, rare)
    n_of, items, rarities, chances = np.array(asked, np.float64).reshape(-1, 4).T
    of = n_of.astype(np.int64)
    rates = model(user[of], items.astype(np.int64), rarities)
    return Places(
        user=user,
        propensity=propensity,
        target=np.minimum(target, 1.0),
        reward=reward,
        predicted=model(user, item, rare),
        expected=np.bincount(of, chances * rates, len(shown)).astype(np.float64),
    )


def _counted(
    place: int, slots: Mapping[int, ExploredPlace], wanted: Sequence[tuple[int, float]]
) -> float:
    """Return how likely another policy has an item, as far as a showing of it tells that.

    place: where the log has it; slots: its places that explore; wanted: places and probabilities.
    A new item was shown at one of several slots: each of them tells a part of what is elsewhere.
    """
    here = [chance for at, chance in wanted if at == place]
    if here or place not in slots or not slots[place].new:
        return here[0] if here else sum(chance for _, chance in wanted)
    return sum(chance for at, chance in wanted if at not in slots) / len(slots)


class _Wanted(NamedTuple):
    """What a policy may show at some places of a list: items by place, and places by item."""

    items_at: dict[int, list[tuple[int, float]]]
    places_of: dict[int, list[tuple[int, float]]]

    @classmethod
    def of(cls, ranking: Ranking, places: Iterable[int]) -> "_Wanted":
        """Return rows of items that are possible, with probabilities."""
        items_at = {place: [*_choices_at(ranking, place)] for place in places}
        places_of: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for place, items in items_at.items():
            for row, chance in items:
                places_of[row].append((place, chance))
        return cls(items_at, places_of)


def _choices_at(ranking: Ranking, place: int) -> Iterator[tuple[int, float]]:
    """Yield the rows that may stand at a place of a list, and how likely each is."""
    for one in ranking.explored:
        if one.place == place:
            rows, chance, instead, of_none, _ = one.options
            yield from ((int(rows[n]), float(chance[n])) for n in np.flatnonzero(chance))
            yield instead, of_none
            return
    yield from ((int(row), 1.0) for row in ranking.rows[place : place + 1])


def _rarities(rankings: Sequence[Ranking]) -> dict[int, dict[int, float]]:
    """Return how rare the matches of new items are, by ranking (`id`) and row.

    The share of the rankings that match the item at least as well.
    """
    known = {id(one): one for one in rankings}
    found: dict[int, dict[int, float]] = {number: {} for number in known}
    by_row: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for number, ranking in known.items():
        for one in ranking.explored[:1]:
            pairs = zip(one.options.rows.tolist(), one.options.matches.tolist(), strict=True)
            for row, match in pairs:
                by_row[row].append((match, number))
    for row, matches in by_row.items():
        ordered = sorted(match for match, _ in matches)
        for match, number in matches:
            at_least = len(ordered) - bisect_left(ordered, match)
            found[number][row] = at_least / len(ordered)
    return found
