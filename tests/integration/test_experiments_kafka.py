"""Two arms on a real broker: a worker process serves each from its channel, and records say so."""

import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents.bundles.announcing import announce
from agents.bundles.names import bundle_name
from agents.experiments.arms import Arms, ArmSettings, ExperimentSettings
from agents.outputs import ProducerOutputs
from segue.bundles import bundles, pin
from segue.experiments import experiment_view
from segue.settings import Settings, write_settings
from streams import KafkaSettings, Recommendation, Request, create_topics, decode, encode, topics
from tests.console.worlds import NOW, World, make_bundles, make_world, small_items
from tests.integration.test_console_kafka import copied
from tests.waiting import PATIENCE_S, end_of, until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
EXPERIMENT = ExperimentSettings(
    salt="kafka",
    arms=(
        ArmSettings(name="today", share=0.5),
        ArmSettings(name="later", share=0.5, channel="next"),
    ),
)


async def published(settings: Settings, world: World) -> None:
    """Generation 1 on the default channel, 2 on the other."""
    async with ProducerOutputs(settings.kafka) as outputs:
        for bundle, channel in zip(world.bundles, ("default", "next"), strict=True):
            await announce(
                bundle, bundle_name(bundle.generation, channel), {}, store=settings.store(),
                scratch=settings.folder / "publish", outputs=outputs, topics=settings.topics,
                now_ms=NOW, keep=5, channel=channel,
            )  # fmt: skip


async def generations(
    settings: Settings,
    users: list[str],
    wanted: Callable[[Recommendation], bool],
    ended: Callable[[], str],
) -> dict[str, Recommendation]:
    """Ask for lists until each user has one that is wanted; return these."""
    kafka = settings.kafka.for_aiokafka()
    name, found = settings.topics.recommendations, {}
    async with (
        AIOKafkaProducer(**kafka) as producer,
        AIOKafkaConsumer(enable_auto_commit=False, **kafka) as consumer,
    ):
        places = [TopicPartition(name, n) for n in range(settings.topics.partitions)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)

        async def all_have_one() -> bool:
            for user in set(users) - found.keys():
                request = Request(user_id=user)
                await producer.send(settings.topics.requests, encode(request), request.key)
            await producer.flush()
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                for record in records:
                    answer = decode(Recommendation, record.value)
                    if wanted(answer):
                        found[answer.user_id] = answer
            return len(found) == len(users)

        await until(all_have_one, f"such a list for each of {users}", ended=ended)
    return found


async def test_each_arm_is_served_from_its_channel_and_records_say_so(broker, tmp_path):
    items = small_items()
    world = make_world(tmp_path, items, make_bundles(items))
    prefix = f"arms-{uuid.uuid4().hex[:8]}"
    settings = replace(
        world.settings,
        kafka=KafkaSettings(bootstrap_servers=broker),
        topics=replace(world.settings.topics, prefix=prefix),
        worker=replace(world.settings.worker, group=prefix),
        experiments=EXPERIMENT,
        sources=(),
    )
    create_topics(settings.kafka, topics(settings.topics))
    config = tmp_path / "segue.toml"
    write_settings(settings, config)
    await copied(world, settings.kafka, prefix)
    world.log.close()
    await published(settings, world)
    arms = Arms(EXPERIMENT)

    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "segue", "worker", "--config", str(config)],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        ended = end_of(worker, (tmp_path / "worker.log").read_text)
        # A bundle takes a second to load: until then a channel serves the default one's.
        due = {"today": 1, "later": 2}
        found = await generations(
            settings, world.users, lambda r: r.generation == due[r.arm], ended
        )
        assert {found[user].arm for user in world.users} == {"today", "later"}
        for user in world.users:
            assert found[user].arm == arms.of(user)
            assert found[user].items

        # The other channel is pinned to the default one's bundle; the default one is as it was.
        await pin(settings, "g000000001", "next")
        await generations(settings, world.users, lambda r: r.generation == 1, ended)
        rows = await bundles(settings, "dynamic", "next")
        assert [(row["name"], row["channel"], row["pinned"]) for row in rows] == [
            ("g000000002-next", "next", False),
            ("g000000001", "default", True),
        ]
        shown = await experiment_view(settings, days=14, effect=0.05)
        assert [arm["share"] for arm in shown["arms"]] == [0.5, 0.5]
        assert worker.poll() is None, (tmp_path / "worker.log").read_text()[-3000:]
    finally:
        worker.terminate()
        worker.wait(PATIENCE_S)
