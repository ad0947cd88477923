"""Answers from the current bundle: lists, similar items, search; the same code as the workers'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from agents.bundles.channels import Channels
from agents.bundles.models import Models
from console.batching import Together
from console.cursor import Cursor, fingerprint
from dynamic_layer import (
    Explanation,
    Filtered,
    ListSettings,
    Ranking,
    Recommender,
    UserState,
    explain,
    search_text,
    similar,
    wilson,
)
from dynamic_layer.policies.exploration import parts
from state import item_key

__all__ = ["DEEPEST", "NotReady", "Page", "Placed", "Serving", "Wanted", "exploration"]

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


#: Places of a list that can be reached by paging; beyond them a ranking is of no use.
DEEPEST = 500
#: Lists are made in steps of so many places, so that the pages of one list are cut from one list.
STEP = 50

T = TypeVar("T")
Repeats = Literal["exclude", "include", "only"]


class NotReady(Exception):
    """No bundle is served yet."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a list is asked for.

    types: none named: all; exclude: (type, id) that must not be in it; name: of the list, which
    says what policy it has; explain: with the reasons for each place; context: values of
    `request.NAME` for policies, by name.
    """

    types: tuple[str, ...] = ()
    exclude: frozenset[tuple[str, str]] = frozenset()
    repeats: Repeats = "exclude"
    k: int = 10
    name: str = ""
    explain: bool = False
    context: tuple[tuple[str, str | None], ...] = ()

    def digest(self) -> str:
        """A short hash of all but the length."""
        text = repr((sorted(self.types), sorted(self.exclude), self.repeats, self.name))
        # Cursors of lists without one stay what they are.
        text += repr(self.context) if any(value for _, value in self.context) else ""
        return xxhash.xxh3_64_hexdigest(text.encode())


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An item in a list. why: the reasons for its place, where they were asked for."""

    item_type: str
    item_id: str
    score: float
    why: Explanation | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list.

    next_page: cursor of what follows; None at the end. continued: whether it goes on with the very
    list that the page before was cut from; otherwise the user or the model has changed in between,
    and items may come twice or never. by_head: whether the ranking head ranked it. filtered: what
    the filter of the list's policy leaves, where the reasons were asked for and it has a filter.
    """

    generation: int
    items: list[Placed]
    next_page: str | None
    continued: bool
    by_head: bool = False
    filtered: Filtered | None = None


@dataclass(frozen=True, kw_only=True)
class _Question:
    user: UserState
    settings: ListSettings
    now_ms: int


class Serving:
    """The current bundle, queried concurrently."""

    def __init__(
        self,
        models: Models,
        clock_ms: Callable[[], int],
        *,
        batch: int,
        waiting: int,
        channels: Channels | None = None,
    ) -> None:
        """batch: lists that are made together, at most; waiting: requests that wait, at most.

        models: answers what is asked of no user; channels: of users, by their arms.
        """
        self.models = models
        self._channels = channels
        self._clock_ms = clock_ms
        self._lists = Together(self._answer, batch, waiting)
        self._texts = Together(self._encode, batch, waiting)

    def __len__(self) -> int:
        """Lists that wait for a batch."""
        return len(self._lists)

    async def page(self, user: UserState, wanted: Wanted, cursor: Cursor | None = None) -> Page:
        """Return a part of a user's list as of now, or of the cursor's time.

        Raises NotReady, Overloaded.
        """
        offset = cursor.offset if cursor else 0
        user = replace(user, context=dict(wanted.context))
        now = cursor.now_ms if cursor else self.now_ms()
        needed = min(offset + wanted.k, DEEPEST) + len(wanted.exclude)
        settings = ListSettings(
            name=wanted.name, item_types=wanted.types, k=_stepped(needed), repeats=wanted.repeats
        )
        end = min(offset + wanted.k, DEEPEST)
        # Places whose items can be on this page: all, where some of them are excluded.
        part = slice(0, settings.k) if wanted.exclude else slice(offset, end)
        if wanted.explain:
            generation, ranking = await self._ask(
                lambda r: explain(r, user, settings, first=part.start, end=part.stop, now_ms=now),
                self._models_of(user),
            )
        else:
            question = _Question(user=user, settings=settings, now_ms=now)
            generation, ranking = await self._lists(question)
        held, items = len(ranking), _placed(ranking, part, ranking.why if wanted.explain else None)
        if wanted.exclude:
            items = [item for item in items if (item.item_type, item.item_id) not in wanted.exclude]
            held, items = len(items), items[offset:end]
        known, asked = fingerprint(user), wanted.digest()
        here = Cursor(offset=end, now_ms=now, generation=generation, user=known, wanted=asked)
        more = held > end and end < DEEPEST
        # A list that was cut where this page ends does not say whether more follows.
        more = more or (end < DEEPEST and len(ranking) == settings.k and held >= end)
        return Page(
            generation=generation,
            items=items,
            next_page=here.text() if more else None,
            by_head=ranking.by_head,
            filtered=ranking.filtered,
            continued=cursor is None
            or (cursor.generation, cursor.user, cursor.wanted) == (generation, known, asked),
        )

    async def similar(
        self, item_type: str, item_id: str, types: Sequence[str], k: int
    ) -> tuple[int, list[Placed] | None]:
        """Return the generation and the items nearest to one; None if that one is unknown."""
        key = item_key(item_type, item_id)
        generation, found = await self._ask(lambda r: similar(r, key, types, k))
        return generation, None if found is None else _placed(found)

    async def search(self, text: str, types: Sequence[str], k: int) -> tuple[int, list[Placed]]:
        """Return the generation and the items nearest to a text."""
        if self.models.recommender is None:
            raise NotReady
        while True:
            model = self.models.text_model
            vector = await self._texts(text)
            generation, found = await self._ask(partial(self._near, model, vector, types, k))
            if found is not None:
                return generation, _placed(found)

    def _near(
        self,
        text_model: str | None,
        vector: NDArray[np.float32],
        types: Sequence[str],
        k: int,
        recommender: Recommender,
    ) -> Ranking | None:
        """Items nearest to a text's vector; None if a bundle of another text model came since."""
        if text_model != self.models.text_model:
            return None
        return search_text(recommender, vector, types, k)

    def has_vector(self, item_type: str, item_id: str) -> bool:
        """Whether an item has a vector in the bundle in use."""
        key = np.array([item_key(item_type, item_id)], np.uint64)
        return bool(self._recommender().knows(key)[0])

    def recommends(self, item_type: str, item_id: str) -> bool:
        """Whether lists can hold an item: it has a vector and is not deleted."""
        recommender = self._recommender()
        rows = recommender.rows(np.array([item_key(item_type, item_id)], np.uint64))
        return bool(rows[0] >= 0) and not bool(recommender.is_removed(rows)[0])

    def knows_any(self, user: UserState) -> bool:
        """Whether something of a user's history has a vector: if not, the user is cold."""
        found = self._models_of(user).recommender or self._recommender()
        return bool(found.knows(user.history_item).any())

    async def explored(self) -> list[dict[str, Any]]:
        """Return what lists explore, see `exploration`; nothing before there is a bundle."""
        try:
            return (await self._ask(partial(exploration, now_ms=self.now_ms())))[1]
        except NotReady:
            return []

    def types(self) -> list[str]:
        """Item types of the bundle in use; raises NotReady."""
        return self._recommender().bundle.types

    def now_ms(self) -> int:
        """The time that lists are made for, to the second: who ask in one are asked together."""
        return self._clock_ms() // 1_000 * 1_000

    def _recommender(self) -> Recommender:
        # What is looked up here is replaced as a whole when items come, never changed.
        if self.models.recommender is None:
            raise NotReady
        return self.models.recommender

    def _models_of(self, user: UserState) -> Models:
        """What the workers serve a user by; those without a name are in no arm."""
        if self._channels is None or not user.user_id:
            return self.models
        return self._channels.serving_user(user.user_id)

    async def _ask(
        self, question: Callable[[Recommender], T], models: Models | None = None
    ) -> tuple[int, T]:
        found = await (models or self.models).ask(question) or await self.models.ask(question)
        if found is None:
            raise NotReady
        return found

    async def _encode(self, texts: Sequence[str]) -> Sequence[NDArray[np.float32]]:
        return list(await self.models.encode(texts))

    async def _answer(self, questions: Sequence[_Question]) -> Sequence[tuple[int, Ranking]]:
        """Make lists; those that are asked for alike cost one search."""
        groups: dict[Models, dict[tuple[ListSettings, int], list[int]]] = {}
        for place, question in enumerate(questions):
            alike = groups.setdefault(self._models_of(question.user), {})
            alike.setdefault((question.settings, question.now_ms), []).append(place)
        found: dict[int, tuple[int, Ranking]] = {}
        for models, alike in groups.items():
            generation, made = await self._ask(partial(_make, questions, alike), models)
            found |= {place: (generation, ranking) for place, ranking in made.items()}
        return [found[place] for place in range(len(questions))]


def _make(
    questions: Sequence[_Question],
    alike: Mapping[tuple[ListSettings, int], Sequence[int]],
    recommender: Recommender,
) -> dict[int, Ranking]:
    made: dict[int, Ranking] = {}
    for (settings, now), places in alike.items():
        answers = recommender.recommend([questions[n].user for n in places], [settings], now)
        made |= {n: answer[settings.name] for n, answer in zip(places, answers, strict=True)}
    return made


def _stepped(places: int) -> int:
    """The next greater multiple of STEP."""
    return -(-places // STEP) * STEP


def _placed(
    ranking: Ranking, part: slice = slice(None), why: Sequence[Explanation] | None = None
) -> list[Placed]:
    """Return a part of a ranking; why: the reasons of its places, where they were asked for."""
    found = [
        Placed(item_type=kind, item_id=name, score=round(score, 6))
        for kind, name, score in zip(
            ranking.item_types[part],
            ranking.item_ids[part],
            ranking.scores[part].tolist(),
            strict=True,
        )
    ]
    if why is None:
        return found
    return [replace(one, why=reason) for one, reason in zip(found, why, strict=True)]
