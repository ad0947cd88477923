"""segue worker, segue trainer, segue rekey: the roles that run for ever."""

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from segue.log_format import LogAs
from segue.options import ConfigOption, LogFormatOption, SetOption, explained, settings_of

if TYPE_CHECKING:
    from segue.settings import Settings
    from streams import LogRecord

logger = logging.getLogger(__name__)

Name = Annotated[
    str, typer.Option("--name", help="Name of this process; its local state is kept under it.")
]
MetricsPort = Annotated[
    int | None, typer.Option(help="Serve Prometheus metrics on this port of --metrics-host.")
]
MetricsHost = Annotated[
    str, typer.Option(help="Address for Prometheus; the default is reached from here alone.")
]


AcceptGap = Annotated[
    bool,
    typer.Option(
        "--accept-gap",
        help="Go on where the log has deleted records that the state needs; the state records it.",
    ),
]


def worker(
    name: Name = "worker-1",
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    accept_gap: AcceptGap = False,
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Ingest events, keep state, answer users; as many of these as there are partitions at most.

    SIGTERM commits, checkpoints and leaves; SIGUSR1 checkpoints every partition now. If the log
    does not hold what a state needs next, the worker ends with status 1 and says what is missing.

    Example: segue worker --name worker-2 --metrics-port 9101
    """
    from agents.apps.kafka import KafkaOutputs, serve_worker
    from segue.rights import require_rights_of
    from segue.roles import make_worker, spare_collections
    from state import WrongState, compile_kernels
    from streams import AdminError, SourceError, read_in_place, require_topics

    # Until there is something to checkpoint; unhandled, the signal would end the worker.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    log = LogAs(role="worker", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_rights_of("worker", settings)
    if in_place := read_in_place(settings.sources):
        with explained(AdminError, SourceError):
            require_topics(settings.kafka, in_place, settings.topics.partitions)

    import faiss
    import torch

    # Before the group is joined: compiling in the first batch would outlast its session.
    compile_kernels()
    spare_collections()
    torch.set_num_threads(settings.worker.threads)
    faiss.omp_set_num_threads(settings.worker.threads)

    async def run() -> int:
        outputs = KafkaOutputs()
        with explained(ValueError):  # an extra that is not installed
            agents = make_worker(settings, name, outputs)
        await agents.channels.announced(await _first_announcements(settings))
        if metrics_port is not None:
            from prometheus_client import start_http_server

            start_http_server(metrics_port, metrics_host, agents.tally.registry)
        asked: set[asyncio.Task[list[str]]] = set()

        def checkpoint() -> None:
            task = asyncio.ensure_future(agents.checkpoint())
            asked.add(task)
            task.add_done_callback(asked.discard)

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, checkpoint)
        try:
            return await serve_worker(
                agents, outputs, settings.kafka, settings.topics, settings.worker,
                accept_gap=accept_gap,
            )  # fmt: skip
        finally:
            agents.close()

    with explained(WrongState, SourceError):
        raise typer.Exit(asyncio.run(run()))


async def _first_announcements(settings: "Settings") -> list["LogRecord"]:
    """What was announced of graphs and of canaries' shares until now.

    A worker learns of them before its first event, or a backlog would be read without making
    examples, or by the wrong arms. Of bundles it learns while it reads: to load one takes seconds.
    """
    from aiokafka.errors import KafkaError

    from segue.looking import read_from
    from streams import AdminError

    try:
        records = await read_from(settings, settings.topics.models, {})
    except (AdminError, KafkaError) as error:
        # The app has the patience for a broker that is away; it follows this topic too.
        logger.warning("announcements are not read before the events: %s", error)
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
    """Learn from every example, publish bundles; one of these, or one for each channel.

    Example: segue trainer --set trainer.publish_every_s=30
    """
    from agents.apps.kafka import KafkaOutputs, serve_trainer
    from segue.looking import read_from
    from segue.rights import require_rights_of
    from segue.roles import make_train

    log = LogAs(role="trainer", name=name, format=log_format)
    settings = settings_of(config, flags, log)
    require_rights_of("trainer", settings)

    async def run() -> int:
        if settings.trainer.threads:
            import torch

            torch.set_num_threads(settings.trainer.threads)
        outputs = KafkaOutputs()
        train = make_train(
            settings, name, outputs,
            read_models=lambda: read_from(settings, settings.topics.models, {}),
        )  # fmt: skip
        if metrics_port is not None:
            from prometheus_client import start_http_server

            start_http_server(metrics_port, metrics_host, train.tally.registry)
        return await serve_trainer(
            train, outputs, settings.kafka, settings.topics, settings.trainer
        )

    raise typer.Exit(asyncio.run(run()))


def rekey(
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_format: LogFormatOption = None,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Write the events of sources that are not keyed by user into Segue's own topic, under users.

    At least once; several of these share the partitions. SIGTERM finishes what was read and leaves.

    Example: segue rekey --config segue.toml
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from segue.rights import require_rights_of
    from streams import AdminError, SourceError, rekeyed, require_topics
    from streams.rekey_app import serve_rekey

    log = LogAs(role="rekey", format=log_format)
    settings = settings_of(config, flags, log)
    require_rights_of("rekey", settings)
    registry = CollectorRegistry()
    if metrics_port is not None:
        start_http_server(metrics_port, metrics_host, registry)
    with explained(AdminError, SourceError):
        require_topics(settings.kafka, rekeyed(settings.sources), settings.topics.partitions)
        status = asyncio.run(
            serve_rekey(
                settings.kafka, settings.topics, settings.sources, settings.events,
                settings.rekey, registry,
            )
        )  # fmt: skip
    raise typer.Exit(status)
