"""Values of one partition's users under keys of their own; changes wait for the next commit."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from state.database import Batch, Database

__all__ = ["UserRecords"]

T = TypeVar("T")


class UserRecords(Generic[T]):
    """Reads values of users when they are needed, and holds them until the next commit."""

    def __init__(self, source: Database, prefix: bytes, read: Callable[[bytes], T]) -> None:
        """Read from an open database.

        prefix: what keys begin with, before the user's id. read: makes a value of what is stored,
        an empty one of no bytes.
        """
        self._database, self._prefix, self._read = source, prefix, read
        self._held: dict[str, T] = {}
        self._touched: set[str] = set()

    def load(self, users: Iterable[str]) -> None:
        """Read the values of users in one request."""
        unknown = [user for user in dict.fromkeys(users) if user not in self._held]
        if unknown:
            found = self._database.get([self._prefix + user.encode() for user in unknown])
            values = (self._read(stored or b"") for stored in found)
            self._held.update(zip(unknown, values, strict=True))

    def of(self, user: str) -> T:
        """Return the value of a user; changes to it count from `touch` on."""
        if user not in self._held:
            self.load([user])
        return self._held[user]

    def touch(self, user: str) -> None:
        """Have the next commit write the value of a user."""
        self._touched.add(user)

    def put(self, user: str, value: T) -> None:
        """Replace the value of a user."""
        self._held[user] = value
        self.touch(user)

    def forget(self, user: str) -> None:
        """Empty the value of a user."""
        self.put(user, self._read(b""))

    def write(self, batch: Batch, pack: Callable[[T], bytes]) -> None:
        """Put the changed values into the batch of a commit; delete those that pack as no bytes."""
        for user in self._touched:
            key, packed = self._prefix + user.encode(), pack(self._held[user])
            if packed:
                batch.put(key, packed)
            else:
                batch.delete(key)

    def written(self) -> None:
        """Note that the batch was written."""
        self._held.clear()
        self._touched.clear()
