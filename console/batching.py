"""Batches requests that arrive at the same time."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Overloaded", "Together"]

Q = TypeVar("Q")
A = TypeVar("A")


class Overloaded(Exception):
    """Too many requests wait already."""


class Together(Generic[Q, A]):
    """Processes queries in batches: a query that arrives while a batch runs is in the next one.

    No query waits for a batch to fill. A search for one user costs nearly the same as for thirty,
    because both read every item's vector once.
    """

    def __init__(
        self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], most: int, waiting: int
    ) -> None:
        """answer: as many answers as questions, in their order; most: questions in one batch."""
        self._answer = answer
        self._most = most
        self._limit = waiting
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def __call__(self, question: Q) -> A:
        """Return the answer, or raise what its batch raised. Raises Overloaded."""
        if len(self._waiting) >= self._limit:
            raise Overloaded(f"{self._limit} requests wait already")
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            taken: list[tuple[Q, asyncio.Future[A]]] = []
            while self._waiting and len(taken) < self._most:
                question, future = self._waiting.popleft()
                if not future.done():  # a caller that gave up is not answered
                    taken.append((question, future))
            if not taken:
                continue
            try:
                answers = await self._answer([question for question, _ in taken])
            except Exception as error:
                for _, future in taken:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(taken, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
