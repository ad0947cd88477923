"""Topics that change under Segue's feet: created again, given partitions, missing, mistimed."""

import asyncio
import contextlib
import json
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents import Worker
from agents.apps.kafka import KafkaOutputs, serve_worker
from segue.cli import app
from segue.roles import make_worker
from segue.settings import Settings, load_settings
from streams import (
    Event,
    Item,
    ItemSourceSettings,
    SourceSettings,
    TopicDefinition,
    bulk_write,
    create_topics,
    delete_topics,
    encode,
    growing,
    held_offsets,
    murmur2_partition,
    topic_identities,
    topics,
)
from streams.admin import add_partitions, describe_topics
from streams.growing import grow_topics
from streams.log_record import now_ms
from streams.source_topics import NO_TOPIC
from streams.spans import Span, open_reader
from tests.waiting import PATIENCE_S, until, within_patience

pytestmark = pytest.mark.integration

USERS = 40


@pytest.fixture
def world(broker: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings with topics of a name of their own."""
    settings = load_settings(
        None,
        {},
        [
            f"data={tmp_path}",
            f"kafka.bootstrap_servers={broker}",
            f"topics.prefix=changes-{uuid.uuid4().hex[:8]}",
            "topics.partitions=2",
            "state.delta_room=4096",
            f"worker.group=group-{uuid.uuid4().hex[:8]}",
        ],
    )
    create_topics(settings.kafka, topics(settings.topics))
    yield settings
    delete_topics(settings.kafka, [one.name for one in topics(settings.topics)])


async def write(settings: Settings, partitions: int, *items: str, users: int = USERS) -> None:
    """Each user does something with each item, one item after the other."""
    events = [
        Event(
            user_id=f"user-{user}", item_id=item, item_type="podcast", kind="stream",
            timestamp=now_ms(),
        )
        for item in items
        for user in range(users)
    ]  # fmt: skip
    records = ((event.key, encode(event)) for event in events)
    await bulk_write(settings.kafka, settings.topics.events, partitions, records)


class Status(int):
    """The exit status of a worker; printed with the reason of its crash."""

    reason: BaseException | None = None

    def __repr__(self) -> str:
        return f"{int(self)}: {self.reason!r}"


@asynccontextmanager
async def running(
    settings: Settings, name: str = "w", *, begin_again: bool = False
) -> AsyncIterator[tuple[Worker, "asyncio.Task[int]"]]:
    """A worker in this process; leaving ends it as a signal does."""
    outputs = KafkaOutputs()
    worker = make_worker(settings, name, outputs, log=settings.kafka)

    async def serve() -> Status:
        status = Status(
            await serve_worker(
                worker, outputs, settings.kafka, settings.topics, settings.worker,
                begin_again=begin_again,
            )
        )  # fmt: skip
        status.reason = outputs.app and outputs.app.crash_reason
        return status

    serving = asyncio.ensure_future(serve())
    try:
        yield worker, serving
    finally:
        if outputs.app is not None and not serving.done():
            await outputs.app.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({serving}, timeout=PATIENCE_S)
        serving.cancel()
        worker.close()


async def applied(worker: Worker, serving: "asyncio.Task[int]", events: int) -> None:
    await until(
        lambda: sum(s.counts["applied"] for s in worker.partitions.states.values()) >= events,
        f"{events} events that are applied",
        ended=lambda: repr(serving.result()) if serving.done() else "",
    )


async def refusal(serving: "asyncio.Task[int]", caplog: pytest.LogCaptureFixture) -> str:
    assert await within_patience(asyncio.shield(serving)) == 1
    return next(r.getMessage() for r in caplog.records if "stopped: " in r.getMessage())


async def recreate(settings: Settings, *items: str) -> None:
    """The events topic deleted and created again, with more records than before."""
    await asyncio.to_thread(delete_topics, settings.kafka, [settings.topics.events])
    await asyncio.to_thread(create_topics, settings.kafka, topics(settings.topics))
    await write(settings, 2, *items)


async def test_a_topic_that_is_created_again_under_a_running_worker_and_under_a_stopped_one(
    world: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(world) as (worker, serving):
        await write(world, 2, "old")
        await applied(worker, serving, USERS)
        await recreate(world, "new1", "new2", "new3")
        message = await refusal(serving, caplog)
        assert "another topic of this name" in message
        assert "--begin-again" in message
    caplog.clear()
    async with running(world) as (worker, serving):
        assert "another topic of this name" in await refusal(serving, caplog)
    async with running(world, begin_again=True) as (worker, serving):
        await applied(worker, serving, 3 * USERS)
        for user in range(USERS):
            number = murmur2_partition(f"user-{user}".encode(), 2)
            assert len(worker.partitions[number].history(f"user-{user}").time) == 3


async def test_added_partitions_are_refused_and_growing_brings_every_user_together(
    world: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    kafka, names = world.kafka, world.topics
    items = [Item(item_id=f"i{n}", item_type="podcast", title=f"Title {n}") for n in range(20)]
    await bulk_write(kafka, names.catalogue, 2, ((item.key, encode(item)) for item in items))
    async with running(world) as (worker, serving):
        await write(world, 2, "a", "b")
        await applied(worker, serving, 2 * USERS)
        await asyncio.to_thread(add_partitions, kafka, names.events, 4)
        message = await refusal(serving, caplog)
        assert f"topic {names.events} has 4 partitions and topics.partitions is 2" in message
        assert "segue topics grow --partitions 4" in message
    # Producers go on, and users are parted: some of their next events lie elsewhere.
    await write(world, 4, "c")
    caplog.clear()
    async with running(world) as (worker, serving):
        assert "segue topics grow --partitions 4" in await refusal(serving, caplog)
    times = {(r.key, r.value): r.timestamp for r in await everything(world, names.events)}

    copied = await grow_topics(kafka, names, 4, lambda *_: None)

    assert copied == {
        names.events: 3 * USERS, names.catalogue: 20, names.users: 0, names.impressions: 0
    }  # fmt: skip
    found = await asyncio.to_thread(topic_identities, kafka, [one.name for one in topics(names)])
    assert {name: one.partitions for name, one in found.items()} == {
        one.name: 1 if one.name in (names.models, names.rows, names.erasures, names.policies) else 4
        for one in topics(names)
    }
    described = await asyncio.to_thread(describe_topics, kafka, [names.events])
    assert described[names.events].settings["message.timestamp.type"] == "LogAppendTime"
    records = await everything(world, names.events)
    assert {(r.key, r.value): r.timestamp for r in records} == times, "the log's times stay"
    assert all(r.partition == murmur2_partition(r.key or b"", 4) for r in records)
    for number in range(USERS):
        mine = [r.value for r in records if r.key == f"user-{number}".encode()]
        assert [json.loads(value or b"")["item_id"] for value in mine] == ["a", "b", "c"]

    grown = replace(world, topics=replace(names, partitions=4))
    caplog.clear()
    async with running(grown) as (worker, serving):
        assert "another topic of this name" in await refusal(serving, caplog)
    async with running(grown, begin_again=True) as (worker, serving):
        await applied(worker, serving, 3 * USERS)
        for number in range(USERS):
            user = f"user-{number}"
            state = worker.partitions[murmur2_partition(user.encode(), 4)]
            assert len(state.history(user).time) == 3
    # It changes nothing when it is run once more, as after an interruption at the very end.
    assert await grow_topics(kafka, names, 4, lambda *_: None) == copied


async def test_growing_goes_on_after_an_interruption_at_any_point(
    world: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of the administration fails once, before it has done anything or behind it."""
    names = world.topics
    await write(world, 2, "a", "b", users=6)
    steps = ("delete_topics", "create_topics", "set_topic_config", "_copy")
    calls = dict.fromkeys(steps, 0)
    failing: tuple[str, int] = ("", 0)

    class Interrupted(Exception):
        pass

    def failing_step(step: str):  # type: ignore[no-untyped-def]
        real = getattr(growing, step)

        def count() -> None:
            calls[step] += 1
            if (step, calls[step]) == failing:
                raise Interrupted

        async def copy(*arguments):  # type: ignore[no-untyped-def]
            count()
            return await real(*arguments)

        def plain(*arguments):  # type: ignore[no-untyped-def]
            count()
            return real(*arguments)

        return copy if step == "_copy" else plain

    for step in steps:
        monkeypatch.setattr(growing, step, failing_step(step))
    # The steps of the events topic, the first one that is written again.
    for point in [("_copy", 1), ("create_topics", 3), ("_copy", 1), ("set_topic_config", 1)]:
        failing = point
        calls.update(dict.fromkeys(steps, 0))
        with pytest.raises(Interrupted):
            await grow_topics(world.kafka, names, 4, lambda *_: None)
    failing = ("", 0)
    assert (await grow_topics(world.kafka, names, 4, lambda *_: None))[names.events] == 12
    records = await everything(world, names.events)
    assert len(records) == 12
    assert all(r.partition == murmur2_partition(r.key or b"", 4) for r in records)


async def test_a_deleted_source_is_told_of_and_the_others_are_read_on(
    world: Settings, broker: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = f"theirs-{uuid.uuid4().hex[:8]}"
    plays, items = f"{prefix}-plays", f"{prefix}-items"
    create_topics(
        world.kafka, [TopicDefinition(name=name, partitions=2) for name in (plays, items)]
    )
    theirs = replace(
        world,
        sources=(SourceSettings(topic=plays),),
        item_sources=(ItemSourceSettings(topic=items),),
    )
    async with running(theirs) as (worker, serving):
        shown = worker.tally.registry.get_sample_value

        def missing(*names: str) -> bool:
            assert not serving.done(), serving.result()
            known = {name: shown("segue_topic_missing", {"topic": name}) for name in worker.topics}
            return known[plays] == float(plays in names) and not known[world.topics.events]

        await until(missing, "the first check")
        await asyncio.to_thread(delete_topics, world.kafka, [plays, items])
        await until(lambda: missing(plays), "the missing topic of events")
        item_topic = {"topic": items}
        await until(lambda: shown("segue_topic_missing", item_topic) == 1, "that of items")
        await write(world, 2, "a")
        await applied(worker, serving, USERS)
        said = [r.getMessage() for r in caplog.records if "was deleted" in r.getMessage()]
        assert [f"topic {name} was deleted" in "".join(said) for name in (plays, items)] == [
            True
        ] * 2
        assert len(said) == 2
        assert "Have its owner create it again" in said[0]
    options = ["--set", f"kafka.bootstrap_servers={broker}", "--set", f"data={tmp_path}"]
    options += ["--set", f"topics.prefix={world.topics.prefix}", "--set", "topics.partitions=2"]
    options += ["--set", f'item_sources=[{{"topic": "{items}"}}]']
    status = await asyncio.to_thread(CliRunner().invoke, app, ["status", *options])
    assert f"source {items} (every process): the topic does not exist" in status.output


async def everything(settings: Settings, topic: str):  # type: ignore[no-untyped-def]
    """All records of a topic, in order within a partition."""
    held = await asyncio.to_thread(held_offsets, settings.kafka, [topic])
    async with open_reader(settings.kafka) as reader:
        return [
            record
            for (name, number), part in sorted(held.items())
            async for batch in reader.read(
                Span(topic=name, partition=number, first=part.first, end=part.end), 1_000
            )
            for record in batch
        ]


def test_status_shows_the_other_sources_when_one_is_missing_and_create_time_is_named(
    world: Settings, broker: str, tmp_path: Path
) -> None:
    prefix = f"theirs-{uuid.uuid4().hex[:8]}"
    timed = {"message.timestamp.type": "CreateTime"}
    there = TopicDefinition(name=f"{prefix}-plays", partitions=2, config=timed)
    create_topics(world.kafka, [there])
    config = tmp_path / "segue.toml"
    config.write_text(
        "\n".join(
            f'[[sources]]\ntopic = "{prefix}-{name}"\nkeyed_by_user = {keyed}\n'
            'item_type = { default = "podcast" }'
            for name, keyed in (("gone", "true"), ("plays", "true"), ("lost", "false"))
        )
    )
    options = ["--config", str(config), "--set", f"kafka.bootstrap_servers={broker}"]
    options += ["--set", f"topics.prefix={world.topics.prefix}", "--set", "topics.partitions=2"]
    options += ["--set", f"data={tmp_path}"]
    try:
        shown = CliRunner().invoke(app, ["status", "--json", *options])
        assert shown.exit_code == 0, shown.output
        sources = {row["topic"]: row for row in json.loads(shown.stdout)["sources"]}
        assert sources[f"{prefix}-plays"]["lag"] == 0
        assert sources[f"{prefix}-plays"]["fault"] == ""
        for name in ("gone", "lost"):
            assert sources[f"{prefix}-{name}"]["fault"] == NO_TOPIC
        assert "the topic does not exist" in CliRunner().invoke(app, ["status", *options]).stdout

        checked = CliRunner().invoke(app, ["sources", "check", "--json", *options])
        assert {row["topic"]: row["create_time"] for row in json.loads(checked.stdout)} == {
            f"{prefix}-gone": False, f"{prefix}-plays": True, f"{prefix}-lost": False,
        }  # fmt: skip
        assert "CreateTime" in CliRunner().invoke(app, ["sources", "check", *options]).stdout
    finally:
        delete_topics(world.kafka, [there.name])
