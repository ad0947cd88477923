"""Settings of the console and its API: addresses, tokens, limits."""

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = [
    "EVENTS", "IMPRESSIONS", "ITEMS", "PEOPLE", "READ_POLICIES", "USERS", "WRITE",
    "WRITE_POLICIES",
    "ConsoleSettings", "Right", "TokenSettings", "WriteSettings",
]  # fmt: skip

Right = Literal[
    "people", "write", "events", "items", "users", "impressions", "read_policies", "write_policies"
]
PEOPLE: Right = "people"
WRITE: Right = "write"
EVENTS: Right = "events"
IMPRESSIONS: Right = "impressions"
ITEMS: Right = "items"
USERS: Right = "users"
READ_POLICIES: Right = "read_policies"
WRITE_POLICIES: Right = "write_policies"
RIGHTS: tuple[Right, ...] = get_args(Right)


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """A bearer token, stored only as its hash; `segue token NAME` creates one.

    name:        owner of the token; it appears in the log of changes, the token never does.
    sha256:      SHA-256 of the token, 64 hex digits.
    rights:      `people` to see the data of users; `write` to erase, pin and unpin;
                 `events`, `items`, `users` and `impressions` to write records of that kind over
                 HTTP; `read_policies` to see and check policies of lists, `write_policies` to put
                 them in force.
    public:      the token is in public pages. Its only rights can be `events` and `impressions`,
                 and each address that uses it counts as a separate client.
    user_prefix: required prefix of user ids in records that this token writes; empty allows any.
    """

    name: str
    sha256: str
    rights: tuple[Right, ...] = (PEOPLE,)
    public: bool = False
    user_prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse invalid hashes, and public tokens with more rights than to write events."""
        if self.public and set(self.rights) - {EVENTS, IMPRESSIONS}:
            raise ValueError(
                f"tokens: rights of {self.name!r}: a public token may have the rights 'events' and "
                f"'impressions' only,"
                f" got {', '.join(self.rights)}"
            )
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(
                f"tokens: sha256 of {self.name!r}: expected 64 hex digits (a token's hash, never "
                f"the token itself), got {len(self.sha256)} characters"
            )


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """Limits of writes over HTTP (`POST` to `/v1/events`, `items`, `users`, `impressions`).

    body_bytes:      maximum length of a body; longer ones get status 413.
    rows:            maximum number of records in a body; more get status 413. Checking them delays
                     other requests by about 10 us per record.
    in_flight_bytes: maximum bytes of bodies that are received and not yet in the log; beyond it
                     requests get status 503.
    wait_s:          seconds that a request waits until the broker has its records; after that it
                     gets status 503, but the records can still be written.
    keys:            maximum number of answers stored by Idempotency-Key; the oldest are dropped.
    key_bytes:       maximum bytes of these answers.
    """

    body_bytes: int = 4_194_304
    rows: int = 1_000
    in_flight_bytes: int = 33_554_432
    wait_s: float = 10.0
    keys: int = 10_000
    key_bytes: int = 33_554_432


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """Settings of `segue console`.

    host:            listen address; the default accepts only this machine.
    port:            port of the API and the pages; 0 selects a free one.
    tokens:          tokens for reading personal data and for changes; without any, one with all
                     rights is created at each start and shown on the screen.
    threads:         threads of torch and FAISS.
    batch:           maximum requests per batch of answers.
    waiting:         maximum number of waiting requests; beyond it they get status 503.
    apply:           maximum records per batch that is applied to the replica; a batch delays
                     requests by 10 us per event.
    rate_per_s:      sustained requests per second of one client (its token, else its address); 0
                     sets no limit.
    burst:           maximum number of requests that a client can send at once.
    clients:         maximum number of clients in this rate limit; the least recently active are
                     dropped.
    max_body_bytes:  maximum length of a request body; longer ones get status 413.
    request_s:       seconds within which a request must arrive completely; otherwise its connection
                     is closed.
    watchers:        maximum number of connections to the event stream of the pages; beyond it, the
                     oldest of the client with the most connections is closed, clients without a
                     token first.
    ready_lag:       maximum lag in records at which the replica becomes ready.
    letters:         number of dead letters kept for the page, newest first.
    people_searched: maximum number of users in a search by id prefix.
    at_least_s:      seconds that a request with `at_least` waits for its records; after that it
                     gets status 503.
    origins:         origins of web pages (`https://shop.example`) whose scripts can write events
                     and request lists of sessions (CORS); `*` allows every page, an empty list
                     none.
    docs_url:        address of your copy of the documentation site; the pages then link to its
                     runbook. Without it they name the section.
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
    request_s: float = 10.0
    watchers: int = 200
    ready_lag: int = 1_000
    letters: int = 500
    people_searched: int = 20
    at_least_s: float = 2.0
    origins: tuple[str, ...] = ()
    docs_url: str = ""
    writes: WriteSettings = field(default_factory=WriteSettings)

    def __post_init__(self) -> None:
        """Refuse limits below one."""
        positive = (
            *("threads", "batch", "waiting", "apply", "burst", "clients", "max_body_bytes"),
            "watchers",
        )
        if self.request_s <= 0:
            raise ValueError(f"console.request_s: expected more than 0, got {self.request_s}")
        if self.docs_url and not self.docs_url.startswith(("https://", "http://")):
            raise ValueError(f"console.docs_url: expected http(s)://..., got {self.docs_url!r}")
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"console.{name}: expected at least 1, got {getattr(self, name)}")
