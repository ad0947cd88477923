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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx

from agents.policy_text import PolicyFile, policy_text
from agents.policy_versions import newest_of
from console import ConsoleSettings, TokenSettings
from console.settings import RIGHTS
from dynamic_layer import PolicyRules, rules_of
from dynamic_layer.policies.rules import Slot
from segue import policies
from segue.settings import Settings
from streams import (
    AdminError,
    BulkWriteError,
    EventRules,
    Impression,
    LogRecord,
    Source,
    decode,
    decode_events,
)
from streams.log_record import now_ms
from tests.crash.history import (
    Erasure,
    Log,
    Operation,
    PolicyRead,
    PolicyWrite,
    Read,
    Shown,
    Write,
)
from tests.crash.supervisor import Stuck, WorkerProcess, until
from tests.dynamic_layer.worlds import Items

__all__ = ["Clients", "console_settings", "is_of_client", "log_of"]

CLIENT = "client-"
"""Ids of the clients' users begin so; nothing else is about them."""
CLIENTS = 3
MARKED = "marked"
"""The list whose first item says which version of its policy is in force."""
TOKEN = "crash run"  # noqa: S105 - of this run
ANSWER_S, PAUSE_S = 10.0, 0.05
CONFLICT, UNAVAILABLE = 409, 503
Ask = Callable[..., Awaitable[Any]]
MOST = 100
"""Entries that the API returns at most; a longer history is not compared."""
STRONG, WEAK = "stream", "preview"
#: How often each operation is drawn beside the others.
OPERATIONS = {
    "write": 10,
    "shown": 4,
    "history": 6,
    "list": 6,
    "erase": 1,
    "policy": 1,
    "marked": 2,
}


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
        #: What the console answered though nothing of the kind was to be expected.
        self.unexpected: list[str] = []
        self._settings = settings
        self._items = items
        self._console = console
        self._seed = seed
        self._policies = 0
        #: The newest version of the marked list's policy that a client knows of.
        self.newest = 0
        self._stopping = False
        self._erasing: asyncio.Future[str] | None = None

    async def next_erasure(self) -> str:
        """Wait until a client is about to send an erasure; returns the user."""
        if self._erasing is None or self._erasing.done():
            self._erasing = asyncio.get_running_loop().create_future()
        return await self._erasing

    def note_erasure(self, user: str) -> None:
        """Say that the erasure of a user is about to be sent."""
        if self._erasing is not None and not self._erasing.done():
            self._erasing.set_result(user)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the clients while the context is open."""
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
                    status = error.response.status_code
                    self.without_answer[str(status)] += 1
                    # The broker is away or the console has just started; or two write a policy.
                    if status != UNAVAILABLE and (what, status) != ("policy", CONFLICT):
                        self.unexpected.append(
                            f"the console answered {status} to {what}: {error.response.text[:200]}"
                        )
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

    async def first_policy(self) -> None:
        """Write the first policy before the console starts, so that each list shows one."""
        slot, began = self._slot(), time.monotonic()
        said = await policies.apply(
            self._settings, _policy(slot), author="a client", comment="", now_ms=now_ms()
        )
        self.newest = said.version
        self._note(began, slot, said.version)

    async def apply_policy(self, ask: Ask) -> None:
        """Put another item first, if no other client has done so since."""
        slot, began = self._slot(), time.monotonic()
        text = policy_text(_policy(slot))
        at = len(self.history)
        self._note(began, slot, None)
        try:
            said = await ask("POST", "/v1/policies", json={"text": text, "after": self.newest})
        except httpx.HTTPStatusError as error:
            if error.response.status_code == CONFLICT:
                [own] = [one for one in await ask("GET", "/v1/policies") if one["list"] == MARKED]
                self.newest = max(self.newest, own["newest"])
            raise
        self.newest = max(self.newest, said["version"])
        self.history[at] = replace(
            self.history[at], version=said["version"], ended=time.monotonic()
        )

    def _slot(self) -> Slot:
        """Return a slot with the next item, which no earlier policy puts first."""
        self._policies += 1
        if self._policies >= self.items:
            raise Stuck(f"more than {self.items} policies")
        item_type, item_id = self.item(self._policies)
        return Slot(position=1, item_type=item_type, item_id=item_id)

    def _note(self, began: float, slot: Slot, version: int | None) -> None:
        item = slot.item_type, slot.item_id
        self.history.append(PolicyWrite(began=began, ended=began, item=item, version=version))


def _policy(slot: Slot) -> PolicyFile:
    return PolicyFile(list_name=MARKED, rules=PolicyRules(slots=(slot,)))


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
        elif what == "shown":
            await self._shown(began)
        elif what in ("history", "list"):
            await self._read(began, is_list=what == "list")
        elif what == "erase":
            await (self._receipt() if self._erasure else self._erase(began))
        elif what == "policy":
            await self._clients.apply_policy(self._ask)
        else:
            await self._marked(began)

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
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

    async def _shown(self, began: float) -> None:
        items = [
            self._clients.item(self._draw.randrange(self._clients.items))
            for _ in range(self._draw.randint(1, 5))
        ]
        shown = {
            "user_id": self._user, "timestamp": now_ms(),
            "items": [
                {"item_type": of, "item_id": name, "position": n}
                for n, (of, name) in enumerate(items, 1)
            ],
        }  # fmt: skip
        said = await self._ask("POST", "/v1/impressions", json=[shown])
        [place] = said["positions"]
        self._clients.history.append(
            Shown(
                began=began, ended=time.monotonic(), user=self._user, items=tuple(items),
                place=Source(**place),
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
        self._clients.note_erasure(self._user)
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
        self._clients.history.append(PolicyRead(began=began, ended=time.monotonic(), item=first))


def is_of_client(record: LogRecord) -> bool:
    """Return whether a record is about the user of a client."""
    return (record.key or b"").startswith(CLIENT.encode())


def _place(record: LogRecord) -> Source:
    return Source(topic=record.topic, partition=record.partition, offset=record.offset)


def log_of(
    records: Sequence[LogRecord],
    impressions: Sequence[LogRecord],
    of_policies: Sequence[LogRecord],
    rules: EventRules,
) -> Log:
    """Return what the records of events, impressions and policies say of what clients do."""
    events: dict[str, list[tuple[Source, tuple[str, str], bool]]] = {}
    erasures: dict[str, list[Source]] = {}
    for record in sorted(records, key=lambda one: one.offset):
        if not is_of_client(record):
            continue
        place = _place(record)
        batch, _ = decode_events([record], rules)
        for row, user in enumerate(batch.user_id):
            item = (batch.item_type[row], batch.item_id[row])
            events.setdefault(user, []).append((place, item, batch.kind[row] == STRONG))
        for erasure in batch.erasures:
            erasures.setdefault(erasure.user_id, []).append(place)
    lists = {}
    for record in impressions:
        shown = decode(Impression, record.value or b"")
        items = tuple((str(one.item_type), str(one.item_id)) for one in shown.items)
        lists[_place(record)] = str(shown.user_id), items
    versions = {}
    for said in newest_of(of_policies, MARKED):
        [slot] = rules_of(said.rules).slots
        versions[slot.item_type, slot.item_id] = said.version
    return Log(events, erasures, lists, versions)
