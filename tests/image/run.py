"""From an empty log to lists, each role in a container of the CPU image, on a real broker."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from streams.broker import DevelopmentBroker
from streams.distribution import POM
from tests.image.building import USER
from tests.image.container import Container, Failed, Role, container, eventually, fetch

__all__ = ["run"]

PARTITIONS = 2
PORTS = {"worker": 19101, "trainer": 19102, "console": 18600}
GRACE_S = 90.0
WORLD = ("--items", "300", "--users", "600", "--events", "20000", "--seed", "1")
#: What Kubernetes sets beside services of these names, and settings for a short run.
VARIABLES = {
    "SEGUE_CONSOLE_SERVICE_HOST": "10.0.0.11",
    "SEGUE_CONSOLE_SERVICE_PORT": "8600",
    "SEGUE_CONSOLE_PORT": "tcp://10.0.0.11:8600",
    "SEGUE_CONSOLE_PORT_8600_TCP_ADDR": "10.0.0.11",
    "SEGUE_ARTIFACTS": "/artifacts",
    "SEGUE_TOPICS__PARTITIONS": str(PARTITIONS),
    "SEGUE_STATIC__TRAIN__MAX_SECONDS": "5",
    "SEGUE_TRAINER__PUBLISH_EVERY_S": "2",
    "SEGUE_TRAINER__SETTLE_S": "1",
    "SEGUE_TRAINER__MIN_EXAMPLES": "50",
}
#: Examples that come live: more than the trainer waits for.
LIVE = ("--rate", "100", "--seconds", "10", "--launches", "0")


def run(folder: Path, libs: Path) -> dict[str, object]:
    """Run all roles and return what was measured; raise Failed for what is not as it should be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    broker = DevelopmentBroker(folder / "kafka", POM, libs=libs)
    address = broker.start(timeout=300)
    try:
        with ExitStack() as stack:
            system = _System(folder, address, stack)
            return system.live()
    finally:
        broker.stop()


class _System:
    """The containers of one run."""

    def __init__(self, folder: Path, address: str, stack: ExitStack) -> None:
        self._folder = folder
        self._address = address
        self._stack = stack
        self._variables = VARIABLES | {"KAFKA_BOOTSTRAP_SERVERS": address}
        self._artifacts = self._volume("artifacts")
        self._measured: dict[str, object] = {}
        self._containers: dict[str, Container] = {}

    def live(self) -> dict[str, object]:
        """From the topics to lists of the trained models, and to the end of every role."""
        self._owned()
        job = self._container("job")
        job.output("segue", "topics", "create")
        job.output("segue", "simulate", "catalogue", *WORLD)
        job.output("segue", "simulate", "history", *WORLD)
        worker = self._container("worker")
        with self._role(worker, "worker") as role:
            self._applied("history")
            self._measured["worker_stopped_first_s"] = round(role.stop(GRACE_S), 1)
        job.output("segue", "static", "build")
        with (
            self._role(worker, "worker", "worker again") as serving,
            self._role(self._container("trainer"), "trainer") as trainer,
            self._role(self._container("console"), "console") as console,
        ):
            eventually(
                lambda: self._metric("trainer", "segue_static_bundle_timestamp_seconds") > 0,
                "the trainer knows the static bundle",
            )
            job.output("segue", "simulate", "live", *WORLD, *LIVE)
            self._applied("live traffic")
            eventually(
                lambda: self._metric("trainer", "segue_bundles_published_total") > 0,
                "the trainer publishes a bundle",
            )
            eventually(
                lambda: self._metric("worker", "segue_served_generation") > 0,
                "the worker serves it",
            )
            self._lists(job, console)
            for role in (console, trainer, serving):
                self._measured[f"{role.name}_stopped_s"] = round(role.stop(GRACE_S), 1)
        for name in ("worker", "trainer", "console", "job"):
            self._compiled(self._container(name))
        return self._measured

    def _owned(self) -> None:
        """The user may write where volumes are mounted, and nowhere else in the image."""
        bare = self._stack.enter_context(container("cpu", "bare", {}, {}))
        bare.output("sh", "-c", "touch /artifacts/file /data/file /tmp/file && rm /artifacts/file")
        find = "find / -xdev -writable ! -type l ! -path '/proc*' ! -path '/dev*' ! -path '/sys*'"
        writable = bare.output("sh", "-c", f"{find} 2>/dev/null || true").split()
        allowed = ("/artifacts", "/data", "/tmp", "/var/tmp", "/run/lock")  # noqa: S108
        if others := [path for path in writable if not path.startswith(allowed)]:
            raise Failed(f"the image's user may write to {', '.join(others[:10])}")

    def _volume(self, name: str) -> Path:
        """A folder that belongs to the image's user, as a volume gets the image's owner."""
        made = self._folder.resolve() / name
        made.mkdir(exist_ok=True)
        shutil.chown(made, *map(int, USER.split(":")))
        return made

    def _container(self, name: str) -> Container:
        if name not in self._containers:
            volumes = {"/data": self._volume(f"data-{name}"), "/artifacts": self._artifacts}
            self._containers[name] = self._stack.enter_context(
                container("cpu", name, volumes, self._variables)
            )
        return self._containers[name]

    @contextmanager
    def _role(self, where: Container, name: str, title: str = "") -> Iterator[Role]:
        """Start a role, wait for its port, and measure how long that takes."""
        title = title or name
        port = str(PORTS[name])
        options = ("--port", port) if name == "console" else ("--metrics-port", port)
        role = where.started(self._folder / f"{title}.log", "segue", name, *options)
        try:
            path = "health" if name == "console" else "metrics"
            seconds = role.answers(f"http://127.0.0.1:{port}/{path}")
            self._measured[f"{title.replace(' ', '_')}_port_open_s"] = round(seconds, 1)
            yield role
        finally:
            role.kill()

    def _metric(self, role: str, name: str) -> float:
        """Sum of a metric's series; 0 if there is none."""
        text = (fetch(f"http://127.0.0.1:{PORTS[role]}/metrics") or b"").decode()
        found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def _applied(self, what: str) -> None:
        """Wait until the workers have committed all that the topic of events holds."""
        with_group = KafkaConsumer(
            bootstrap_servers=self._address, group_id="segue-workers", enable_auto_commit=False
        )
        places = [TopicPartition("segue.events", n) for n in range(PARTITIONS)]
        try:
            ends = with_group.end_offsets(places)
            if not sum(ends.values()):
                raise Failed(f"{what}: no events were written")
            eventually(
                lambda: all((with_group.committed(place) or 0) >= ends[place] for place in places),
                f"{what} is applied",
            )
        finally:
            with_group.close()

    def _lists(self, job: Container, console: Role) -> None:
        """The console and the workers have lists for a user of the world."""
        address = f"http://127.0.0.1:{PORTS['console']}"
        eventually(lambda: fetch(f"{address}/ready"), "the console is ready")
        token = re.search(r"#token=(\S+)", console.log)
        if token is None:
            raise Failed(f"the console shows no token:\n{console.log[-2000:]}")
        answer = fetch(f"{address}/v1/recommendations?user=user-000001", token[1])
        if answer is None or not json.loads(answer)["items"]:
            raise Failed(f"the console has no list: {answer!r}")
        told = json.loads(
            job.output("segue", "recommend", "user-000001", "--json", "--timeout", "60")
        )
        if not told:
            raise Failed("the workers have no list")

    def _compiled(self, where: Container) -> None:
        """No role compiled a kernel: its copy of the image's kernels has no file more."""
        listing = "cd {0} && find . -type f -name '*.nbc' | sort"
        shipped = where.output("sh", "-c", listing.format("/opt/segue/kernels")).split()
        used = where.output("sh", "-c", listing.format("/tmp/segue-kernels")).split()  # noqa: S108
        self._measured["kernels"] = len(shipped)
        if more := set(used) - set(shipped):
            raise Failed(f"{where.name} compiled {len(more)} kernels: {', '.join(sorted(more))}")
