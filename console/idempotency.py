"""Answers that are remembered by their Idempotency-Key."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from console.problems import Problem

__all__ = ["Remembered"]

Owned = tuple[str, str, str]
"""Token's name, path, key: keys of different owners are different keys."""


class Remembered:
    """Answers of this process by key: the newest ones, limited in number and in bytes.

    A request that repeats a key gets the same answer, also while the first request is still in
    progress, and does nothing of its own. A request that failed is forgotten, so that a repeat
    tries again. Other processes do not know these keys, nor does this one after a restart.
    """

    def __init__(self, keys: int, most_bytes: int) -> None:
        """Remember at most so many keys, and so many bytes of answers."""
        self._keys = keys
        self._most = most_bytes
        self._bytes = 0
        # Key -> sha256 of the body, and the answer. Oldest first.
        self._answers: OrderedDict[Owned, tuple[bytes, asyncio.Task[bytes]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def answer(
        self, key: Owned, body: bytes, make: Callable[[], Coroutine[Any, Any, bytes]]
    ) -> tuple[asyncio.Task[bytes], bool]:
        """Return the task of a key's answer, begun by `make` unless it is known; and if it was.

        Raises Problem 422 where the key came with another body.
        """
        digest = hashlib.sha256(body).digest()
        found = self._answers.get(key)
        if found is not None:
            if found[0] != digest:
                raise Problem(422, "this Idempotency-Key was used with another body")
            return found[1], True
        task = asyncio.create_task(make())
        self._answers[key] = (digest, task)
        task.add_done_callback(lambda done: self._done(key, done))
        return task, False

    def _done(self, key: Owned, task: asyncio.Task[bytes]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._answers.pop(key, None)
            return
        self._bytes += len(task.result())
        while len(self._answers) > self._keys or self._bytes > self._most:
            oldest = next((k for k, (_, made) in self._answers.items() if made.done()), None)
            if oldest is None:
                return
            self._bytes -= len(self._answers.pop(oldest)[1].result())
