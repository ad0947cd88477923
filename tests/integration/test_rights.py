"""The rights that deploy/kafka/acls.sh grants, on a real broker with Kafka's own authoriser."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from kafka import KafkaAdminClient
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePatternFilter,
    ResourceType,
)

from segue.rights import RIGHTS
from segue.settings import Settings, write_settings
from streams import (
    Event,
    Item,
    ItemSourceSettings,
    KafkaSettings,
    SourceSettings,
    TopicDefinition,
    UserSourceSettings,
    bulk_write,
    create_topics,
    encode,
    group_lag,
    topics,
)
from streams.distribution import POM, KafkaDistribution
from streams.rights import READ, WRITE, Rights, missing_rights, require_rights
from tests.integration.login_broker import LoginBroker, plain_users
from tests.waiting import PATIENCE_S, end_of, wait_until, within_patience

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "kafka" / "acls.sh"
USERS = ("producer", "worker", "trainer", "static", "console", "rekey", "nobody")
PROTOCOL = "SASL_PLAINTEXT"
PASSWORD = "of-{}"  # noqa: S105 of a user that exists here alone

# Users log in at a listener of their own. The development broker's own one stays open: who comes
# there is nobody by name, and is the administrator here.
AUTHORISER = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""


@pytest.fixture(scope="module")
def guarded(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginBroker]:
    """A broker with topics, and with the rights that the script grants."""
    users = plain_users(PROTOCOL, {name: PASSWORD.format(name) for name in USERS})
    node = LoginBroker(
        tmp_path_factory.mktemp("guarded"), jars, protocol=PROTOCOL, properties=users + AUTHORISER
    )
    address = node.start(timeout=PATIENCE_S)
    settings = settings_for(node, "nobody")
    foreign = [
        TopicDefinition(name=source.topic, partitions=1)
        for source in (*settings.personal_sources, *settings.item_sources)
    ]
    create_topics(KafkaSettings(bootstrap_servers=address), [*topics(settings.topics), *foreign])
    tool = node.data_dir / "kafka-acls"
    command = KafkaDistribution(pom=POM, libs=jars).command(
        "org.apache.kafka.tools.AclCommand", options=("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    )
    # The script calls it fourteen times: the first call leaves its loaded classes to the others.
    java, *words = (f"'{word}'" for word in command)
    archive = f"{tool}.jsa"
    tool.write_text(
        "#!/bin/sh\n"
        f"[ -e {archive} ] && classes=SharedArchiveFile || classes=ArchiveClassesAtExit\n"
        f'exec {java} -XX:$classes={archive} {" ".join(words)} "$@"\n'
    )
    tool.chmod(0o755)
    done = subprocess.run(
        [SCRIPT, address], capture_output=True, text=True, check=False,
        env=os.environ | {"KAFKA_ACLS": str(tool), "IN_PLACE": "plays", "REKEYED": "clicks",
                          "ITEMS": "products", "USERS": "people"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    yield node
    node.stop()


def settings_for(node: LoginBroker, user: str) -> Settings:
    kafka = KafkaSettings(
        bootstrap_servers=node.login or node._address(), security_protocol=PROTOCOL,
        sasl_mechanism="PLAIN", sasl_username=user, sasl_password=PASSWORD.format(user),
    )  # fmt: skip
    return Settings(
        data=str(node.data_dir / user),
        kafka=kafka,
        topics=replace(Settings().topics, partitions=1),
        sources=(
            SourceSettings(topic="plays"),
            SourceSettings(topic="clicks", keyed_by_user=False),
        ),
        item_sources=(ItemSourceSettings(topic="products"),),
        user_sources=(UserSourceSettings(topic="people"),),
    )


def granted(address: str) -> dict[str, dict[str, set[str]]]:
    """User -> operation -> what it is granted on, as the broker tells; without Describe."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    anything = ACLFilter(
        None, None, ACLOperation.ANY, ACLPermissionType.ALLOW,
        ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )  # fmt: skip
    entries, _ = admin.describe_acls(anything)
    admin.close()
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        where = entry.resource_pattern
        name = f"{where.resource_type.name.lower()} {where.resource_name}"
        found[entry.principal.removeprefix("User:")][entry.operation.name.title()].add(name)
    return found


def test_the_script_grants_what_the_roles_do_and_no_more(guarded: LoginBroker) -> None:
    found = granted(guarded._address())
    settings = settings_for(guarded, "nobody")
    for role, rights_of in RIGHTS.items():
        rights = rights_of(settings)
        may_read = {f"topic {name}" for name in rights.read}
        may_read |= {f"group {rights.group}"} if rights.group else set()
        may_write = {f"topic {name}" for name in rights.write}
        if role == "console":  # where it may write over HTTP, erase, pin and change policies
            may_write = {
                f"topic segue.{name}"
                for name in ("events", "impressions", "catalogue", "users", "models", "policies")
            }
        assert (role, found[role][READ], found[role][WRITE]) == (role, may_read, may_write)
        assert found[role].keys() <= {READ, WRITE, "Describe"}
    assert found.keys() == {*RIGHTS, "producer"}


@pytest.mark.parametrize("role", RIGHTS)
def test_each_role_finds_its_own_rights_and_misses_those_of_others(
    guarded: LoginBroker, role: str
) -> None:
    settings = settings_for(guarded, role)
    require_rights(settings.kafka, RIGHTS[role](settings))
    assert "segue.requests" in " ".join(
        missing_rights(settings.kafka, Rights(write=frozenset({"segue.requests"})))
    )


def test_nobody_is_told_everything_that_he_lacks(guarded: LoginBroker) -> None:
    settings = settings_for(guarded, "nobody")
    missing = missing_rights(settings.kafka, RIGHTS["trainer"](settings))
    assert missing == [
        "Read on topic products",
        "Read on topic segue.catalogue",
        "Write on topic segue.dead-letters",
        "Read on topic segue.demand",
        "Read on topic segue.examples",
        "Read on topic segue.models",
        "Write on topic segue.models",
        "Write on topic segue.rows",
        "Read on group segue-trainer",
    ]


def test_a_role_without_a_right_ends_and_names_it(guarded: LoginBroker) -> None:
    """The trainer's user may not do what a worker does."""
    done = started(guarded, "trainer", "worker")
    try:
        assert done.wait(PATIENCE_S) == 1
        # Lines are as wide as a screen: a right may go over their end.
        file = Path(settings_for(guarded, "trainer").data) / "worker.log"
        said = " ".join(file.read_text().split())
    finally:
        ended(done)
    assert "Kafka user trainer lacks the right" in said
    assert "Write on topic segue.recommendations" in said
    assert "Read on group segue-workers" in said
    assert "of-trainer" not in said


def test_a_worker_lives_on_its_own_rights(guarded: LoginBroker) -> None:
    """It applies what the producer's user wrote, and reads a topic of items in place."""
    names = settings_for(guarded, "worker").topics

    async def write() -> None:
        event = Event(
            user_id="ann", item_id="i1", item_type="podcast", kind="stream",
            timestamp=time.time_ns() // 1_000_000,
        )  # fmt: skip
        kafka = settings_for(guarded, "producer").kafka
        async with AIOKafkaProducer(**kafka.for_aiokafka()) as producer:
            for value in (encode(event), b"{not JSON"):
                await producer.send_and_wait(names.events, key=b"ann", value=value)
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(names.models, key=b"static", value=b"{}")

    async def letters() -> list[bytes]:
        kafka = settings_for(guarded, "console").kafka
        async with AIOKafkaConsumer(
            names.dead_letters, auto_offset_reset="earliest", **kafka.for_aiokafka()
        ) as consumer:
            record = await within_patience(consumer.getone())
        return [record.value]

    asyncio.run(write())
    item = Item(item_id="i1", item_type="podcast", title="One")
    admin = KafkaSettings(bootstrap_servers=guarded._address())
    asyncio.run(bulk_write(admin, "products", 1, [(item.key, encode(item)), (b"k", b"[]")]))
    worker = started(guarded, "worker", "worker")
    try:
        wait_until(
            lambda: group_lag(admin, "segue-workers", [names.events])[names.events] == {0: 0},
            "the worker's commits",
            ended=end_of(worker, lambda: log_of(guarded, "worker", "worker")),
        )  # fmt: skip
        wait_until(
            lambda: "products/0/1 is no item" in said_by_worker(guarded),
            "the worker to read the products",
            ended=end_of(worker, lambda: log_of(guarded, "worker", "worker")),
        )  # fmt: skip
        [letter] = asyncio.run(letters())
        assert json.loads(letter)["reason"] == "malformed"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0, log_of(guarded, "worker", "worker")
    finally:
        ended(worker)
    assert "lacks" not in log_of(guarded, "worker", "worker")


def said_by_worker(guarded: LoginBroker) -> str:
    """The worker's log without the ends of its lines, which a screen has set."""
    return " ".join(log_of(guarded, "worker", "worker").split())


def started(guarded: LoginBroker, user: str, role: str) -> subprocess.Popen[bytes]:
    settings = settings_for(guarded, user)
    config = Path(settings.data) / "segue.toml"
    write_settings(settings, config)
    with (Path(settings.data) / f"{role}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "segue", role, "--config", str(config)],
            stdout=log, stderr=log, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def log_of(guarded: LoginBroker, user: str, role: str) -> str:
    return (Path(settings_for(guarded, user).data) / f"{role}.log").read_text()
