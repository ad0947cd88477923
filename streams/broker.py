"""The development broker: one Apache Kafka node (KRaft) in one data directory.

For development, tests and the demo. Never for production: one node, no replication, no security.
"""

import base64
import contextlib
import json
import signal
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from streams.distribution import BrokerError, KafkaDistribution

HOST = "127.0.0.1"
CLUSTER_ID = base64.urlsafe_b64encode(b"segue-dev-broker").decode().rstrip("=")
"""Every development broker has this cluster id, so that foreign storage is told apart."""

SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={storage}

# A misspelt topic must fail, not appear.
auto.create.topics.enable=false
# Enough for a record of 8 MiB and its batch's frame: it must arrive to be refused by name.
message.max.bytes=9437184

# One node: nothing to replicate to, no reason to wait for more members.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# The consumer protocol (KIP-848) takes these from the broker: a member that is silent for six
# seconds loses its partitions, and each second members hear what has changed.
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000

# Sized for a heap of 512 MiB.
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
"""

LOG4J_PROPERTIES = """\
status=warn
rootLogger.level=INFO
rootLogger.appenderRef.stdout.ref=STDOUT
appender.stdout.type=Console
appender.stdout.name=STDOUT
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %-5p %m (%c{1})%n
"""


class AlreadyRunningError(BrokerError):
    """A broker of this data directory runs already; `address` says where."""

    def __init__(self, address: str) -> None:
        """Say where it runs."""
        super().__init__(f"the broker of this data directory already runs at {address}")
        self.address = address


class PortTakenError(BrokerError):
    """Another process listens on the port that was asked for."""


class ForeignStorageError(BrokerError):
    """The data directory holds the storage of another Kafka cluster."""


class NoAnswerError(BrokerError):
    """The broker ended, or did not answer in time; the tail of its log is in the message."""


@dataclass(frozen=True, kw_only=True)
class BrokerStatus:
    """What is known of a data directory's broker.

    running: its process is alive. address and pid are None otherwise.
    """

    running: bool
    address: str | None = None
    pid: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """The process that was started, told apart from a later one with the same number."""

    pid: int
    started: float
    address: str


class DevelopmentBroker:
    """Start, find and stop the one broker of a data directory.

    data_dir: holds storage, configuration, log (`broker.log`) and pid file; the jars too (`libs`)
              unless another folder is named.
    The broker outlives the object and the process that started it; any object made for the same
    directory finds it.
    """

    def __init__(self, data_dir: Path, pom: Path, *, libs: Path | None = None, heap_mb: int = 512):
        """Describe it; nothing is started or written yet."""
        self.data_dir = data_dir.resolve()
        self.distribution = KafkaDistribution(pom=pom, libs=libs or self.data_dir / "libs")
        self.log = self.data_dir / "broker.log"
        self._heap_mb = heap_mb
        self._storage = self.data_dir / "storage"
        self._properties = self.data_dir / "server.properties"
        self._pid_file = self.data_dir / "broker.json"

    def start(self, port: int | None = None, *, timeout: float = 300) -> str:
        """Start the broker, wait until it answers and return its address, "127.0.0.1:port".

        port: None takes any free one. timeout: seconds until it must have answered.
        Raises AlreadyRunningError, PortTakenError, ForeignStorageError, NoAnswerError,
        JavaMissingError, MavenMissingError, JarsUnavailableError.
        """
        if running := self._identity():
            raise AlreadyRunningError(running.address)
        if port is not None and not _is_free(port):
            raise PortTakenError(
                f"port {port} on {HOST} is taken by another process: "
                "stop it, or choose another port"
            )
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.distribution.resolve()
        self._check_storage()
        address = self._configure(port)
        self._format()
        process = self._launch()
        identity = _Identity(
            pid=process.pid, started=psutil.Process(process.pid).create_time(), address=address
        )
        self._pid_file.write_text(json.dumps(asdict(identity)))
        try:
            self._wait_for_answer(process, address, timeout)
        except BaseException:
            self.stop()
            raise
        return address

    def stop(self, *, timeout: float = 30) -> bool:
        """Stop the broker and wait for its end; return False when none was running.

        A broker that ignores the request for `timeout` seconds is killed; its log recovers.
        """
        identity = self._identity()
        if identity is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        process = psutil.Process(identity.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()
        self._pid_file.unlink(missing_ok=True)
        return True

    def status(self) -> BrokerStatus:
        """Tell whether the broker runs, and where."""
        identity = self._identity()
        if identity is None:
            return BrokerStatus(running=False)
        return BrokerStatus(running=True, address=identity.address, pid=identity.pid)

    def console_consumer(self, topic: str, *options: str) -> list[str]:
        """Return the command of Kafka's console consumer on this broker."""
        return self.distribution.console_consumer(self._address(), topic, *options)

    def console_producer(self, topic: str) -> list[str]:
        """Return the command of Kafka's console producer: lines `key TAB value` on stdin."""
        return self.distribution.console_producer(self._address(), topic)

    def _address(self) -> str:
        identity = self._identity()
        if identity is None:
            raise BrokerError(f"no broker of {self.data_dir} is running")
        return identity.address

    def _identity(self) -> _Identity | None:
        """Read the pid file and believe it only if that very process still lives."""
        try:
            identity = _Identity(**json.loads(self._pid_file.read_text()))
            process = psutil.Process(identity.pid)
            same = abs(process.create_time() - identity.started) < 1
            alive = process.status() != psutil.STATUS_ZOMBIE
            ours = str(self._properties) in process.cmdline()
        except (FileNotFoundError, ValueError, TypeError, psutil.NoSuchProcess):
            return None
        return identity if same and alive and ours else None

    def _check_storage(self) -> None:
        meta = self._storage / "meta.properties"
        if not meta.is_file():
            return
        entries = dict(line.split("=", 1) for line in meta.read_text().splitlines() if "=" in line)
        if entries.get("cluster.id") != CLUSTER_ID:
            raise ForeignStorageError(
                f"{self._storage} belongs to the Kafka cluster {entries.get('cluster.id')!r}, "
                f"expected {CLUSTER_ID!r}: choose another data directory, or remove this one"
            )

    def _configure(self, port: int | None) -> str:
        taken = free_ports(2)
        port = port or taken[0]
        self._properties.write_text(
            SERVER_PROPERTIES.format(
                host=HOST, port=port, controller_port=taken[1], storage=self._storage
            )
        )
        (self.data_dir / "log4j2.properties").write_text(LOG4J_PROPERTIES)
        return f"{HOST}:{port}"

    def _format(self) -> None:
        if (self._storage / "meta.properties").is_file():
            return
        arguments = ["format", "--cluster-id", CLUSTER_ID, "--config", str(self._properties)]
        command = self.distribution.command(
            "kafka.tools.StorageTool", *arguments, options=self._options(heap_mb=128)
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            raise BrokerError(f"cannot format {self._storage}:\n{done.stdout}{done.stderr}")

    def _launch(self) -> subprocess.Popen[bytes]:
        command = self.distribution.command(
            "kafka.Kafka", str(self._properties), options=self._options(heap_mb=self._heap_mb)
        )
        with self.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal is for its starter alone
                cwd=self.data_dir,
            )

    def _options(self, *, heap_mb: int) -> list[str]:
        configuration = self.data_dir / "log4j2.properties"
        return [
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={configuration}",
        ]

    def _wait_for_answer(
        self, process: subprocess.Popen[bytes], address: str, timeout: float
    ) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise NoAnswerError(
                    f"the broker ended with status {process.returncode}:\n{self._log_tail()}"
                )
            if not _is_free(int(address.rpartition(":")[2])) and _answers(address):
                return
            time.sleep(0.1)
        raise NoAnswerError(
            f"the broker at {address} did not answer within {timeout:g} s:\n{self._log_tail()}"
        )

    def _log_tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _answers(address: str) -> bool:
    """Tell whether the broker has joined its own cluster and serves clients."""
    # Imported here: `segue kafka env` needs no client, and the client takes half a second.
    from kafka import KafkaAdminClient  # noqa: PLC0415
    from kafka.errors import KafkaError  # noqa: PLC0415

    try:
        admin = KafkaAdminClient(bootstrap_servers=address, request_timeout_ms=2000)
    except KafkaError:
        return False
    try:
        cluster: dict[str, Any] = admin.describe_cluster()
        return bool(cluster["brokers"])
    except KafkaError:
        return False
    finally:
        admin.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that no process listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
