"""Clients of a console that is killed now and then: they write, read, erase and apply policies.

Each client has a user of its own, whom no other record is about. An operation without an answer is
not part of the history; the log says whether it took place.
"""

import asyncio
import contextlib
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx

from console import ConsoleSettings, TokenSettings
from console.settings import RIGHTS
from dynamic_layer import PolicyRules
from dynamic_layer.policies.rules import Slot
from segue.policies import PolicyFile, write_version
from segue.settings import Settings
from streams import (
    AdminError,
    BulkWriteError,
    EventRules,
    ListPolicy,
    LogRecord,
    Source,
    decode_events,
)
from streams.wall_clock import now_ms
from tests.crash.history import (
    Erasure,
    Log,
    Operation,
    PolicyRead,
    PolicyWrite,
    Read,
    Write,
)
from tests.crash.supervisor import WorkerProcess, until
from tests.dynamic_layer.worlds import Items

__all__ = ["CLIENT", "Clients", "console_settings", "log_of"]

CLIENT = "client-"
"""Ids of the clients' users begin so; nothing else is about them."""
CLIENTS = 3
MARKED = "marked"
"""The list whose first item says which version of its policy is in force."""
TOKEN = "crash run"  # noqa: S105 - of this run
ANSWER_S, PAUSE_S = 10.0, 0.05
MOST = 100
"""Entries that the API returns at most; a longer history is not compared."""
STRONG, WEAK = "stream", "preview"
#: How often each operation is drawn beside the others.
OPERATIONS = {"write": 10, "history": 6, "list": 6, "erase": 1, "policy": 1, "marked": 2}


def console_settings() -> ConsoleSettings:
    """Return settings of the console: one token with all rights, and no limit of the rate."""
    token = TokenSettings(
        name="clients", sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), rights=RIGHTS
    )
    return ConsoleSettings(rate_per_s=0.0, tokens=(token,))


class Clients:
    """Runs clients and keeps the history of what they saw."""

    def __init__(self, settings: Settings, items: Items, console: WorkerProcess, seed: int) -> None:
        """Ask the console; the seed draws what is asked, not when."""
        self.history: list[Operation] = []
        self.without_answer: Counter[str] = Counter()
        self._settings = settings
        self._items = items
        self._console = console
        self._seed = seed
        self._versions: list[ListPolicy] = []
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the clients meanwhile."""
        tasks = [asyncio.ensure_future(self._client(number)) for number in range(CLIENTS)]
        try:
            yield
        finally:
            # Each ends after its operation: a cancellation can get lost in a client's library.
            self._stopping = True
            await asyncio.gather(*tasks)

    async def answered(self) -> None:
        """Wait until each client has another answer to a read. Raises Stuck."""
        reads = Counter(one.user for one in self.history if isinstance(one, Read))

        def all_read() -> bool:
            now = Counter(one.user for one in self.history if isinstance(one, Read))
            return len(now) == CLIENTS and all(now[user] > reads[user] for user in now)

        await until(all_read, "an answer of the console to each client")

    async def _client(self, number: int) -> None:
        draw = random.Random(f"{self._seed}/client/{number}")
        base = f"http://127.0.0.1:{self._console.port}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=ANSWER_S) as http:
            one = _Client(f"{CLIENT}{number}", http, draw, self)
            while not self._stopping:
                [what] = draw.choices(list(OPERATIONS), list(OPERATIONS.values()))
                try:
                    await one.do(what)
                except httpx.HTTPStatusError as error:
                    self.without_answer[str(error.response.status_code)] += 1
                except (httpx.HTTPError, AdminError, BulkWriteError) as error:
                    self.without_answer[type(error).__name__] += 1
                await asyncio.sleep(PAUSE_S)

    @property
    def life(self) -> int:
        """A number of the console's process: it changes when the console starts again."""
        return self._console.process.pid or 0 if self._console.process else 0

    def item(self, row: int) -> tuple[str, str]:
        """Type and id of an item."""
        return self._items.item_types[row], self._items.item_ids[row]

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self._items.item_ids)

    async def apply_policy(self) -> None:
        """Write the next version of the marked list: it puts another item first."""
        began, version = time.monotonic(), len(self._versions) + 1
        item_type, item_id = self.item(version % self.items)
        rules = PolicyRules(slots=(Slot(position=1, item_type=item_type, item_id=item_id),))
        # Noted before the write: a version whose write is not confirmed may be in force.
        self.history.append(PolicyWrite(began=began, ended=began, version=version))
        self._versions.append(
            ListPolicy(list=MARKED, version=version, author="", comment="", created_at=0, rules={})
        )
        await write_version(
            self._settings, PolicyFile(list_name=MARKED, rules=rules), author="a client",
            comment="", now_ms=now_ms(), known=self._versions[:-1],
        )  # fmt: skip

    def version_of(self, first: tuple[str, str]) -> int:
        """Return the latest version that puts an item first; 0 if none does.

        The first version is written before the console starts, so that each list shows one.
        """
        rows = range(len(self._versions), 0, -1)
        return next((n for n in rows if self.item(n % self.items) == first), 0)


class _Client:
    """One client: its user, what it wrote last, and its erasure on the way."""

    def __init__(
        self, user: str, http: httpx.AsyncClient, draw: random.Random, clients: Clients
    ) -> None:
        self._user, self._http, self._draw, self._clients = user, http, draw, clients
        self._latest: Source | None = None
        self._erasure: Erasure | None = None

    async def do(self, what: str) -> None:
        """Do one operation. Raises httpx.HTTPError where it was not answered as it should be."""
        began = time.monotonic()
        if what == "write":
            await self._write(began)
        elif what in ("history", "list"):
            await self._read(began, is_list=what == "list")
        elif what == "erase":
            await (self._receipt() if self._erasure else self._erase(began))
        elif what == "policy":
            await self._clients.apply_policy()
        else:
            await self._marked(began)

    async def _ask(self, method: str, path: str, **more: object) -> dict:
        answer = await self._http.request(method, path, **more)
        answer.raise_for_status()
        return answer.json()

    async def _write(self, began: float) -> None:
        item = self._clients.item(self._draw.randrange(self._clients.items))
        strong = self._draw.random() < 0.8
        event = {
            "user_id": self._user, "item_type": item[0], "item_id": item[1],
            "kind": STRONG if strong else WEAK, "timestamp": now_ms(),
        }  # fmt: skip
        said = await self._ask("POST", "/v1/events", json=[event])
        [place] = said["positions"]
        self._latest = Source(**place)
        self._clients.history.append(
            Write(
                began=began, ended=time.monotonic(), user=self._user, item=item, strong=strong,
                place=self._latest,
            )
        )  # fmt: skip

    async def _read(self, began: float, *, is_list: bool) -> None:
        asked = self._latest if self._draw.random() < 0.7 else None
        query: dict[str, object] = {"user": self._user, "k": MOST}
        if asked is not None:
            query["at_least"] = asked.place.decode()
        life = self._clients.life
        said = await self._ask(
            "GET", "/v1/recommendations" if is_list else "/v1/user", params=query
        )
        entries = said["items"] if is_list else said["history"]
        if life != self._clients.life or said.get("entries", 0) > MOST:
            return
        self._clients.history.append(
            Read(
                began=began, ended=time.monotonic(), user=self._user, asked=asked,
                topic=said["topic"], partition=said["partition"], position=said["position"],
                items=tuple((one["item_type"], one["item_id"]) for one in entries),
                is_list=is_list, life=life,
            )
        )  # fmt: skip

    async def _erase(self, began: float) -> None:
        said = await self._ask("DELETE", "/v1/user", params={"user": self._user})
        self._latest = Source(**said["events"])
        self._erasure = Erasure(
            began=began, ended=time.monotonic(), user=self._user, place=self._latest
        )
        self._clients.history.append(self._erasure)

    async def _receipt(self) -> None:
        assert self._erasure is not None
        place = self._erasure.place
        query = {"topic": place.topic, "partition": place.partition, "offset": place.offset}
        said = await self._ask("GET", "/v1/receipt", params=query)
        if said["done"] and said["applied_here"]:
            seen = replace(self._erasure, held_since=time.monotonic())
            history = self._clients.history
            history[history.index(self._erasure)] = seen
            self._erasure = None

    async def _marked(self, began: float) -> None:
        query = {"user": f"{self._user}-reader", "list": MARKED, "k": 5}
        said = await self._ask("GET", "/v1/recommendations", params=query)
        first = next(((one["item_type"], one["item_id"]) for one in said["items"]), ("", ""))
        self._clients.history.append(
            PolicyRead(began=began, ended=time.monotonic(), version=self._clients.version_of(first))
        )


def log_of(records: Sequence[LogRecord], rules: EventRules) -> Log:
    """Return what the records of the events topic say of the clients' users."""
    events: dict[str, list[tuple[Source, tuple[str, str], bool]]] = {}
    erasures: dict[str, list[Source]] = {}
    for record in sorted(records, key=lambda one: one.offset):
        if not (record.key or b"").startswith(CLIENT.encode()):
            continue
        place = Source(topic=record.topic, partition=record.partition, offset=record.offset)
        batch, _ = decode_events([record], rules)
        for row, user in enumerate(batch.user_id):
            item = (batch.item_type[row], batch.item_id[row])
            events.setdefault(user, []).append((place, item, batch.kind[row] == STRONG))
        for erasure in batch.erasures:
            erasures.setdefault(erasure.user_id, []).append(place)
    return Log(events, erasures)
