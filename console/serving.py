"""Answers from the bundle in use: lists, similar items, search; the same code as the workers'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from agents.bundles.channels import Channels
from agents.bundles.models import Models
from console.batching import Together
from console.cursor import Cursor, fingerprint
from dynamic_layer import (
    Explanation,
    ListSettings,
    Ranking,
    Recommender,
    UserState,
    explain,
    search_text,
    similar,
)
from state import item_key

__all__ = ["DEEPEST", "NotReady", "Page", "Placed", "Serving", "Wanted"]

#: Places of a list that can be reached by paging; beyond them nobody is served by a ranking.
DEEPEST = 500
#: Lists are made in steps of so many places, so that the pages of one list are cut from one list.
STEP = 50
EXPLAINED = 3

T = TypeVar("T")
Repeats = Literal["exclude", "include", "only"]


class NotReady(Exception):
    """No bundle is served yet."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a list is asked for.

    types: none named: all; exclude: (type, id) that must not be in it.
    """

    types: tuple[str, ...] = ()
    exclude: frozenset[tuple[str, str]] = frozenset()
    repeats: Repeats = "exclude"
    k: int = 10

    def digest(self) -> str:
        """A short hash of all but the length."""
        text = repr((sorted(self.types), sorted(self.exclude), self.repeats))
        return xxhash.xxh3_64_hexdigest(text.encode())


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An item in a list."""

    item_type: str
    item_id: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list.

    next_page: cursor of what follows; None at the end. continued: whether it goes on with the very
    list that the page before was cut from; otherwise the user or the model has changed in between,
    and items may come twice or never.
    """

    generation: int
    items: list[Placed]
    next_page: str | None
    continued: bool


@dataclass(frozen=True, kw_only=True)
class _Question:
    user: UserState
    settings: ListSettings
    now_ms: int


class Serving:
    """The bundle in use, asked by many at once."""

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
        now = cursor.now_ms if cursor else self.now_ms()
        needed = min(offset + wanted.k, DEEPEST) + len(wanted.exclude)
        settings = ListSettings(
            name="", item_types=wanted.types, k=_stepped(needed), repeats=wanted.repeats
        )
        generation, ranking = await self._lists(_Question(user=user, settings=settings, now_ms=now))
        end = min(offset + wanted.k, DEEPEST)
        held, items = len(ranking), []
        if wanted.exclude:
            items = _placed(ranking, 0, held)
            items = [item for item in items if (item.item_type, item.item_id) not in wanted.exclude]
            held, items = len(items), items[offset:end]
        else:
            items = _placed(ranking, offset, end)
        known, asked = fingerprint(user), wanted.digest()
        here = Cursor(offset=end, now_ms=now, generation=generation, user=known, wanted=asked)
        more = held > end and end < DEEPEST
        # The list may have been cut where this page ends: then nobody knows whether more follows.
        more = more or (end < DEEPEST and len(ranking) == settings.k and held >= end)
        return Page(
            generation=generation,
            items=items,
            next_page=here.text() if more else None,
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
        vector = await self._texts(text)
        generation, found = await self._ask(lambda r: search_text(r, vector, types, k))
        return generation, _placed(found)

    async def explain(
        self, user: UserState, items: Sequence[Placed], nearest: int = EXPLAINED
    ) -> list[Explanation | None]:
        """Return why items stand in a user's list."""
        keys = np.array([item_key(item.item_type, item.item_id) for item in items], np.uint64)
        now = self._clock_ms()
        _, found = await self._ask(
            lambda r: explain(r, user, keys, nearest=nearest, now_ms=now), self._models_of(user)
        )
        return found

    def has_vector(self, item_type: str, item_id: str) -> bool:
        """Whether an item has a vector in the bundle in use."""
        key = np.array([item_key(item_type, item_id)], np.uint64)
        return bool(self._recommender().knows(key)[0])

    def knows_any(self, user: UserState) -> bool:
        """Whether something of a user's history has a vector: if not, the user is cold."""
        found = self._models_of(user).recommender or self._recommender()
        return bool(found.knows(user.history_item).any())

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


def _placed(ranking: Ranking, first: int = 0, end: int | None = None) -> list[Placed]:
    part = slice(first, end)
    return [
        Placed(item_type=kind, item_id=name, score=round(score, 6))
        for kind, name, score in zip(
            ranking.item_types[part],
            ranking.item_ids[part],
            ranking.scores[part].tolist(),
            strict=True,
        )
    ]
