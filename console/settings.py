"""How the console and its API behave: where they listen, whom they trust, what they bear."""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["PEOPLE", "WRITE", "ConsoleSettings", "Right", "TokenSettings"]

Right = Literal["people", "write"]
PEOPLE: Right = "people"
WRITE: Right = "write"


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """A bearer token, known by its hash alone; `segue token NAME` makes one.

    name:   whose it is; it appears in the log of what was written, the token never does.
    sha256: of the token, 64 hex digits.
    rights: `people` to see what is known of a person, `write` to erase, pin and unpin.
    """

    name: str
    sha256: str
    rights: tuple[Right, ...] = (PEOPLE,)

    def __post_init__(self) -> None:
        """Refuse what no token can match."""
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(
                f"tokens: sha256 of {self.name!r}: expected 64 hex digits (a token's hash, never "
                f"the token itself), got {len(self.sha256)} characters"
            )


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """Settings of `segue console`.

    host:            address to listen on; the default is reached from this machine alone.
    port:            of the API and the pages; 0 takes a free one.
    tokens:          who may see persons and write; none: one with all rights is made at each start
                     and shown on the screen.
    threads:         threads of torch and FAISS.
    batch:           requests that are answered together, at most.
    waiting:         requests that wait for their turn, at most; beyond it they get status 503.
    apply:           records that are applied to the replica at once, at most: a batch keeps the
                     requests of the moment waiting, 10 us an event.
    rate_per_s:      requests a second of one client (its token, else its address) in the long run;
                     0 sets no limit.
    burst:           requests that a client may send at once.
    clients:         clients that are remembered for this, at most; the longest silent go.
    max_body_bytes:  of a request; longer ones get status 413.
    ready_lag:       records behind the log within which the replica may become ready.
    letters:         dead letters that are kept for the page, newest win.
    people_searched: users that a search by the beginning of their id shows, at most.
    """

    host: str = "127.0.0.1"
    port: int = 8600
    tokens: tuple[TokenSettings, ...] = ()
    threads: int = 1
    batch: int = 32
    waiting: int = 512
    apply: int = 256
    rate_per_s: float = 50.0
    burst: int = 100
    clients: int = 10_000
    max_body_bytes: int = 65_536
    ready_lag: int = 1_000
    letters: int = 500
    people_searched: int = 20

    def __post_init__(self) -> None:
        """Refuse limits below one."""
        for name in ("threads", "batch", "waiting", "apply", "burst", "clients", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"console.{name}: expected at least 1, got {getattr(self, name)}")
