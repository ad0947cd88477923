"""segue worker, segue trainer, segue rekey: the long-running roles."""

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from segue.log_format import LogAs
from segue.options import (
    ConfigOption,
    LogFormatOption,
    SetOption,
    broker_settings_of,
    explained,
    settings_of,
)

if TYPE_CHECKING:
    from segue.settings import Settings
    from streams import LogRecord

logger = logging.getLogger(__name__)

Name = Annotated[
    str,
    typer.Option("--name", help="Name of this process; its local state is stored under this name."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65_535, help="Serve Prometheus metrics on this port of --metrics-host."
    ),
]
MetricsHost = Annotated[
    str, typer.Option(help="Listen address for Prometheus; the default accepts only this machine.")
]


AcceptGap = Annotated[
    bool,
    typer.Option(
        "--accept-gap",
        help="Continue although the log has deleted records that the state needs; the state "
        "records the gap.",
    ),
]


BeginAgain = Annotated[
    bool,
    typer.Option(
        "--begin-again",
        help="Set aside states and checkpoints of earlier topics with the same names, and "
        "rebuild the state from the current topics. Use for one start only.",
    ),
]


Supervised = Annotated[
    bool,
    typer.Option(
        "--supervised",
        help="Run as the child of a small process that leaves the group at once if the worker is "
        "killed or crashes.",
    ),
]


def worker(
    name: Name = "worker-1",
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    accept_gap: AcceptGap = False,
    begin_again: BeginAgain = False,
    supervised: Supervised = False,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Read events, maintain state, answer users; run at most one per partition.

    SIGTERM commits, writes checkpoints and exits; SIGUSR1 writes a checkpoint of every partition.
    If the log lacks records that a state needs next, the worker exits with status 1 and names them.

    Example: segue worker --name worker-2 --metrics-port 9101
    """
    from segue.supervised import member_reporter, stop_on_signals, supervise

    tell_member = member_reporter()
    if supervised and tell_member is None:
        broker = broker_settings_of(
            config, flags, LogAs(role="worker", name=name, format=log_format)
        )
        # As this process was started: `-m` would put the working folder before the packages.
        raise typer.Exit(supervise(broker.kafka, sys.orig_argv[1:]))

    from agents.apps.kafka import KafkaOutputs, serve_worker
    from segue.folders import require_folders_of
    from segue.rights import require_rights_of
    from segue.roles import make_worker, spare_collections
    from segue.serving_metrics import serve_metrics
    from segue.threads import use_threads
    from state import DamagedState, StoreUnavailable, WrongState, compile_kernels
    from streams import AdminError, SourceError, read_in_place, require_topics
    from streams.pulse import Pulse
    from streams.stop_limit import StopLimit, end_on_signal

    # Until there is something to checkpoint; unhandled, the signal would end the worker.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    end_on_signal()
    pulse = Pulse()
    log = LogAs(role="worker", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_folders_of("worker", settings, name)
    require_rights_of("worker", settings)
    if in_place := read_in_place(settings.sources):
        with explained(AdminError, SourceError):
            require_topics(settings.kafka, in_place, settings.topics.partitions)
    _warn_of_producer_times(settings)

    # Before the group is joined: compiling in the first batch would outlast its session.
    compile_kernels()
    spare_collections()
    use_threads(settings.worker.threads)

    async def run() -> int:
        outputs = KafkaOutputs()
        with explained(ValueError):  # an extra that is not installed
            agents = make_worker(settings, name, outputs, log=settings.kafka)
        await agents.channels.announced(await _first_announcements(settings))
        if metrics_port is not None:
            serve_metrics(metrics_port, metrics_host, agents.tally.registry, pulse)
        asked: set[asyncio.Task[list[str]]] = set()

        def checkpoint() -> None:
            task = asyncio.ensure_future(agents.checkpoint())
            asked.add(task)
            task.add_done_callback(asked.discard)

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, checkpoint)
        stop = None if tell_member is None else stop_on_signals(loop)
        try:
            return await serve_worker(
                agents, outputs, settings.kafka, settings.topics, settings.worker,
                accept_gap=accept_gap, begin_again=begin_again, pulse=pulse,
                on_stop=StopLimit(lambda: agents.partitions.uploading).begin,
                stop=stop, tell_member=tell_member,
            )  # fmt: skip
        finally:
            agents.close()

    with explained(WrongState, DamagedState, StoreUnavailable, SourceError):
        raise typer.Exit(asyncio.run(run()))


def _warn_of_producer_times(settings: "Settings") -> None:
    """Warn about event topics whose timestamps are set by producers."""
    from streams import AdminError, producer_timed, read_in_place

    own = settings.topics.events
    try:
        found = producer_timed(
            settings.kafka, [own, *(source.topic for source in read_in_place(settings.sources))]
        )
    except AdminError as error:
        logger.warning("unknown whether topics keep producer timestamps: %s", error)
        return
    for topic in found:
        logger.warning(
            "topic %s keeps producer timestamps (message.timestamp.type=CreateTime): "
            "events.jump_ms refuses events ahead of this system's clock; LogAppendTime is safer",
            topic,
        )


async def _first_announcements(settings: "Settings") -> list["LogRecord"]:
    """Read the announced graphs and canary shares.

    A worker needs them before its first event: otherwise it reads a backlog without making
    examples, or with the wrong arms. It loads bundles while it reads events, because loading takes
    seconds.
    """
    from aiokafka.errors import KafkaError

    from streams import AdminError, read_from

    try:
        records = await read_from(settings.kafka, settings.topics.models)
    except (AdminError, KafkaError) as error:
        # The app has the patience for a broker that is away; it follows this topic too.
        logger.warning("announcements cannot be read before the events: %s", error)
        return []
    return [record for record in records if (record.key or b"").startswith((b"static", b"share/"))]


def trainer(
    name: Name = "trainer-1",
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Learn from every example and publish bundles; run one, or one per channel.

    Example: segue trainer --set trainer.publish_every_s=30
    """
    from agents.apps.kafka import KafkaOutputs, serve_trainer
    from segue.folders import require_folders_of
    from segue.rights import require_rights_of
    from segue.roles import make_train
    from segue.serving_metrics import serve_metrics
    from segue.threads import use_threads
    from streams import read_from
    from streams.pulse import Pulse
    from streams.stop_limit import StopLimit, end_on_signal

    end_on_signal()
    pulse = Pulse()
    log = LogAs(role="trainer", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_folders_of("trainer", settings, name)
    require_rights_of("trainer", settings)

    async def run() -> int:
        use_threads(settings.trainer.threads)
        outputs = KafkaOutputs()
        train = make_train(
            settings, name, outputs,
            read_models=lambda: read_from(settings.kafka, settings.topics.models),
        )  # fmt: skip
        if metrics_port is not None:
            serve_metrics(metrics_port, metrics_host, train.tally.registry, pulse)
        return await serve_trainer(
            train, outputs, settings.kafka, settings.topics, settings.trainer,
            pulse=pulse, on_stop=StopLimit().begin,
        )  # fmt: skip

    raise typer.Exit(asyncio.run(run()))


def rekey(
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write events of sources that are not keyed by user to Segue's own topic, keyed by user.

    Users of user_sources are written to Segue's own topic of users.

    Delivery is at least once. Several processes share the partitions. SIGTERM finishes the records
    that are read, and exits.

    Example: segue rekey --config segue.toml
    """
    from prometheus_client import CollectorRegistry

    from segue.rights import require_rights_of
    from segue.serving_metrics import serve_metrics
    from streams import AdminError, SourceError, rekeyed, require_topics
    from streams.pulse import Pulse
    from streams.rekey_app import serve_rekey
    from streams.sources import require_rekeyed
    from streams.stop_limit import StopLimit, end_on_signal

    end_on_signal()
    log = LogAs(role="rekey", format=log_format)
    settings = settings_of(config, flags, log)
    with explained(SourceError):
        require_rekeyed(settings.personal_sources)
    require_rights_of("rekey", settings)
    registry, pulse = CollectorRegistry(), Pulse()
    if metrics_port is not None:
        serve_metrics(metrics_port, metrics_host, registry, pulse)
    with explained(AdminError, SourceError):
        sources = rekeyed(settings.personal_sources)
        require_topics(settings.kafka, sources, settings.topics.partitions)
        status = asyncio.run(
            serve_rekey(
                settings.kafka, settings.topics, settings.personal_sources, settings.events,
                settings.rekey, registry, pulse=pulse, on_stop=StopLimit().begin,
            )
        )  # fmt: skip
    raise typer.Exit(status)
