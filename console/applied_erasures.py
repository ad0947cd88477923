"""The erasures that a replica has applied, on its own disk: it may be ahead of the workers."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from agents.erased import ErasedUsers
from state import Erased
from streams import ErasedUser, decode, encode

__all__ = ["AppliedErasures"]

logger = logging.getLogger(__name__)


class AppliedErasures:
    """Remembers over a restart the erasures that are not on the topic of erasures yet.

    Workers write an erasure to that topic before they commit the state behind it, so that a start
    knows all erasures before its positions. A replica writes to no topic, and may commit first.
    Without this file, records that the erasure covers and that the replica has not read yet would
    count after a restart.

    Guaranteed: an erasure that `note` was told of before `write` is known after `read`, until the
    topic has it. The file holds hashes of users, and no ids.
    """

    def __init__(self, file: Path, erased: ErasedUsers) -> None:
        """Keep them in `file`, one a line; erased: what the replica knows."""
        self._file, self._erased = file, erased
        self._users: dict[str, ErasedUser] = {}
        self._changed = False

    def read(self) -> None:
        """Know what the file holds. Call it when the topic of erasures has been read."""
        lines = self._file.read_bytes().splitlines() if self._file.exists() else []
        for line in lines:
            try:
                user = decode(ErasedUser, line)
            except msgspec.DecodeError as error:
                logger.error("a line of %s is passed over: %s", self._file, error)
                continue
            if self._erased.take(user):
                self._users[user.user_sha256] = user

    async def note(
        self, _topic: str, _partition: int, users: Iterable[str], _erased: Sequence[Erased]
    ) -> None:
        """Take users whose erasures the states have just applied."""
        for user in users:
            known = self._erased.of(user)
            self._users[known.user_sha256] = known
            self._changed = True

    def write(self) -> None:
        """Have the file hold them; before the states are committed."""
        if not self._changed:
            return
        part = self._file.with_name(self._file.name + ".part")
        with part.open("wb") as file:
            file.writelines(encode(user) + b"\n" for user in self._users.values())
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._file)
        self._changed = False
