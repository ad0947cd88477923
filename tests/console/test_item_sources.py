"""A catalogue topic of another owner, read in place by a worker and a console."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from agents import Worker
from agents.apps.embedded import EmbeddedRoles
from agents.outputs import EmbeddedOutputs
from agents.training.examples_read import ExamplesRead
from segue.item_source_check import suggested_item_source
from streams import (
    DeletedMapping,
    ItemSourceSettings,
    ListPolicy,
    Recommendation,
    Request,
    TopicDefinition,
    ValueMapping,
    create_topics,
    decode,
    encode,
)
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, NOW, WordVectors, World
from tests.waiting import wait_until

SHOP = ItemSourceSettings(
    topic="shop.products",
    item_id="after.sku",
    item_type=ValueMapping(field="after.class"),
    title="after.name",
    description="",
    language="",
    genres="",
    published_at="",
    attributes={"stock": "after.stock"},
    attribute_object="",
    deleted=DeletedMapping(field="op", values=("d",)),
)


def with_shop(world: World) -> None:
    """Every item is in the shop's topic, in stock; lists have only what is in stock."""
    world.settings = replace(world.settings, item_sources=(SHOP,))
    create_topics(world.log, [TopicDefinition(name=SHOP.topic, partitions=3)])
    for row in range(len(world.items.item_ids)):
        change(world, row, stock=1)
    rules = {"filter": "item.stock > 0", "types": {"item.stock": "number"}}
    policy = ListPolicy(list="*", version=1, author="ann", created_at=1, rules=rules)
    world.log.append(world.settings.topics.policies, policy.key, encode(policy))


def change(world: World, row: int, op: str = "u", **more: Any) -> None:
    items = world.items
    sku = {"sku": items.item_ids[row], "class": items.item_types[row], "name": f"Shop {row}"}
    world.log.append(
        SHOP.topic, f"row-{row}".encode(), json.dumps({"op": op, "after": sku | more}).encode()
    )


def number(item: Any) -> int:
    return int(item["item_id"][1:])


def test_stock_deletion_and_takedown_reach_the_lists_of_a_console(world):
    with_shop(world)
    world.announce(world.bundles[0])
    with ready(world) as served, served.client(headers=HEADERS) as client:

        def listed() -> list[int]:
            ask = {"user": "user-03", "k": 10, "titles": True}
            return [*map(number, client.get("/v1/recommendations", params=ask).json()["items"])]

        def entry(row: int) -> Any:
            names = {"type": world.items.item_types[row], "id": world.items.item_ids[row]}
            return client.get("/v1/item", params=names).json().get("catalogue")

        wait_until(lambda: len(listed()) == 10, "the shop's items")
        sold_out, deleted, removed, taken_down = listed()[:4]
        assert entry(sold_out) == {
            "item_id": world.items.item_ids[sold_out], "title": f"Shop {sold_out}",
            "item_type": world.items.item_types[sold_out], "attributes": {"stock": 1},
        }  # fmt: skip
        # A bad record beside the good ones is passed over.
        world.log.append(SHOP.topic, f"row-{deleted}".encode(), b"{no json")
        change(world, sold_out, stock=0)
        change(world, deleted, op="d")
        world.log.append(SHOP.topic, f"row-{removed}".encode(), None)
        row = {
            "item_type": world.items.item_types[taken_down],
            "item_id": world.items.item_ids[taken_down],
        }
        client.post("/v1/items", json=row | {"deleted": True}).raise_for_status()
        gone = {sold_out, deleted, removed, taken_down}
        wait_until(lambda: not gone & {*listed()}, "items to leave the list")
        assert entry(deleted) is None
        assert entry(taken_down) is None
        assert entry(removed)["title"] == f"Title {removed}"  # Segue's own topic has it still
        # Its owner's changes do not end a takedown; a record of the ids does.
        change(world, taken_down, stock=5)
        change(world, sold_out, stock=2)
        wait_until(lambda: sold_out in listed(), "what is in stock again")
        assert taken_down not in listed()
        client.post("/v1/items", json=row).raise_for_status()
        world.announce(world.bundles[1])
        wait_until(lambda: taken_down in listed(), "the end of the takedown")


async def test_a_worker_writes_lists_by_the_shops_topic(world):
    with_shop(world)
    world.announce(world.bundles[0])
    settings, log = world.settings, world.log
    names = settings.topics
    worker = Worker(
        settings=settings.worker, state=settings.state, topics=names, rules=settings.events,
        store=settings.store(), folder=world.folder / "w", encoder=WordVectors,
        outputs=EmbeddedOutputs(log), clock_ms=lambda: NOW, sources=settings.sources,
        item_sources=settings.item_sources,
    )  # fmt: skip

    class NoTrainer:
        read = ExamplesRead()

        async def assigned(self): ...
        async def close(self): ...

        def position(self, topic, partition): ...
        def passed_over(self, topic, partition, offset): ...

    answered = 0

    async def listed() -> list[int]:
        nonlocal answered
        request = Request(user_id="user-03")
        place = log.append(names.requests, request.key, encode(request))
        while True:
            roles.check()
            for part in range(names.partitions):
                for one in log.read(names.recommendations, part, 0):
                    found = decode(Recommendation, one.value)
                    source = found.source
                    if (
                        source.topic == names.requests
                        and found.list == "mix"
                        and ((source.partition, source.offset) == place)
                    ):
                        return [int(item.item_id[1:]) for item in found.items]
            await asyncio.sleep(0)

    async def read() -> None:
        while roles.unread_by_worker(SHOP.topic):
            await asyncio.sleep(0)

    async with EmbeddedRoles(
        log, names, worker, NoTrainer(), settings.worker, learning=False
    ) as roles:
        await read()
        first = await listed()
        assert len(first) == 10
        change(world, first[0], stock=0)
        world.log.append(SHOP.topic, f"row-{first[1]}".encode(), None)
        log.append(SHOP.topic, b"row-1", b"[]")
        await read()
        after = await listed()
    assert len(after) == 10
    assert not set(first[:2]) & set(after)
    refused = {
        (sample.labels["topic"], sample.labels["reason"]): sample.value
        for metric in worker.tally.registry.collect()
        if metric.name == "segue_item_sources_refused"
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert refused == {(SHOP.topic, "wrong_type"): 1}


async def test_the_mapping_of_a_topic_is_guessed(world):
    with_shop(world)
    settings = replace(world.settings, item_sources=(), kafka=world.log)
    found = await suggested_item_source(settings, SHOP.topic, 50)
    assert found.good
    assert len(found.records) == 50
    assert found.records[0].attributes == {"stock": 1}
