"""One canary's life on a real broker, from an empty folder to the verdict."""

import asyncio
import json
import shutil
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.errors import KafkaError

from agents.bundles.announcements import newest_shares
from agents.training.quality import EveryChannel
from dynamic_layer import KEPT_DAYS
from segue.experiments import experiment_view
from segue.settings import write_settings
from streams import AdminError, create_topics, read_from, topics
from tests.canary.judge import judge
from tests.canary.world import (
    BAD,
    CANARY,
    CHANNEL,
    CONTROL,
    EXPERIMENT,
    FIRST_OF,
    Listeners,
    canary_settings,
    make_world,
)
from tests.crash.brokers import Brokers
from tests.crash.run import Report, tell
from tests.crash.supervisor import Cluster, Stuck
from tests.crash.world import publish_models

__all__ = ["run"]

WORKERS = ("worker-1", "worker-2")
#: What the canary is waited for, in seconds, on a machine that others use too.
PATIENCE_S = 240.0
STEP_S = 0.5


async def run(folder: Path, libs: Path, *, seed: int = 1, rate: int = 80) -> Report:
    """Let a canary grow, have its trainer and a worker killed, make it bad; what went wrong is
    in the report, never raised.
    """
    report, started = Report(seed=seed), time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    brokers = Brokers(folder / "kafka", libs, 1)
    settings = canary_settings(folder.resolve(), await brokers.start())
    cluster = Cluster(settings, brokers)
    try:
        await asyncio.to_thread(create_topics, settings.kafka, topics(settings.topics))
        write_settings(settings, cluster.config)
        world = make_world(seed)
        await publish_models(settings, world, seed, FIRST_OF)
        try:
            async with _traffic(cluster, Listeners(settings, world, seed, rate)):
                life = _Life(cluster, report)
                await life.through()
            await cluster.moving("the end of the log")
            await cluster.learned()
            await life.look()
            trainers = [cluster.trainer, *cluster.trainers.values()]
            await asyncio.gather(*map(cluster.stop, [*cluster.running, *trainers]))
        except (Stuck, KafkaError, AdminError) as error:
            report.differences.append(f"stuck: {error}")
        else:
            await judge(settings, world, cluster, report)
    finally:
        for process in cluster.everyone:
            process.wanted = False
            cluster.kill(process)
        await brokers.stop()
        report.exits = cluster.exits
        report.figures["seconds"] = round(time.monotonic() - started, 1)
    report.differences += report.exits
    return report


@asynccontextmanager
async def _traffic(cluster: Cluster, writer: Listeners) -> AsyncIterator[None]:
    """Run everybody; the writer ends its work at the end."""
    for name in WORKERS:
        cluster.add(name)
    cluster.trainer.wanted = True
    cluster.add_trainer(CHANNEL)
    watching = asyncio.ensure_future(cluster.watch())
    writing = asyncio.ensure_future(writer.run())
    try:
        yield
        writer.stopping.set()
        await writing
    finally:
        for job in (watching, writing):
            job.cancel()
        await asyncio.gather(watching, writing, return_exceptions=True)


class _Life:
    """What happens to the canary, in its order."""

    def __init__(self, cluster: Cluster, report: Report) -> None:
        self._cluster, self._report = cluster, report
        self._settings = cluster.settings
        self._quality = EveryChannel(self._settings.store(), keep_days=KEPT_DAYS)
        self._started = time.monotonic()

    async def through(self) -> None:
        """Growth, two kills, growth, bad bundles, fall. Raises Stuck."""
        cluster, arm = self._cluster, EXPERIMENT.arms[1]
        trainer, first, step = cluster.trainers[CHANNEL], arm.canary.first, arm.canary.step
        await self._share(first + step, "it is as good as the control")
        before, since = self._questions(), trainer.log_size
        cluster.kill(trainer)
        cluster.kill(cluster.workers[WORKERS[0]])
        self._note("SIGKILL of the canary's trainer and of a worker")
        await self._share(first + 2 * step, "both are back")
        if "continuing from checkpoint" not in trainer.told(since):
            self._report.differences.append("the canary's trainer began anew after SIGKILL")
        after = self._questions()
        self._report.differences += [
            f"arm {name} was asked {after[name]} questions, {before[name]} before the SIGKILL"
            for name in before
            if after[name] < before[name]
        ]
        await cluster.stop(trainer)
        trainer.flags += BAD
        since, trainer.wanted = trainer.log_size, True
        self._note(f"the canary's trainer is restarted with {' and '.join(BAD)}")
        await self._share(0.0, "its bundles are bad")
        if "ERROR" not in trainer.told(since) or f"canary {CANARY} falls" not in trainer.told(
            since
        ):
            self._report.differences.append("the fall is no error in the trainer's log")

    async def look(self) -> None:
        """See what people see of the fall: the metric that the alert is about, and the table."""
        for trainer, wanted in (
            (self._cluster.trainers[CHANNEL], ['segue_canary_stopped{arm="next"} 1.0',
                                               'segue_canary_share_ratio{arm="next"} 0.0']),
            (self._cluster.trainer, []),
        ):  # fmt: skip
            page = await asyncio.to_thread(_metrics, trainer.port)
            shown = [line for line in page.splitlines() if line.startswith("segue_canary_")]
            if sorted(shown) != sorted(wanted):
                self._report.differences.append(f"{trainer.name} shows {shown}, not {wanted}")
        view = await experiment_view(self._settings, days=2, effect=0.05)
        today, new = view["arms"]
        self._report.figures["experiments"] = {
            arm["name"]: {
                name: arm.get(name)
                for name in ("share", "questions", "hr_at_10", "verdict", "canary")
            }
            for arm in view["arms"]
        }
        if (today["share"], new["share"], new["canary"]["state"]) != (1.0, 0.0, "stopped"):
            self._report.differences.append(f"segue experiments shows {json.dumps(view)}")

    async def _share(self, wanted: float, why: str) -> None:
        """Wait until the canary has a share. Raises Stuck."""
        deadline = time.monotonic() + PATIENCE_S
        salt = EXPERIMENT.salt
        while True:
            records = await read_from(self._settings.kafka, self._settings.topics.models)
            said = newest_shares(records, salt).get(CANARY)
            if said and abs(said.share - wanted) < 1e-6:
                self._note(f"{CANARY} has {said.share:.0%}: {'; '.join(said.reasons)}")
                return
            if said and said.state == "stopped":
                raise Stuck(f"{wanted:.0%} for {CANARY} since {why}; it has none: {said.reasons}")
            if time.monotonic() > deadline:
                raise Stuck(f"waited {PATIENCE_S:g} s in vain for {wanted:.0%} since {why}: {said}")
            await asyncio.sleep(STEP_S)

    def _questions(self) -> dict[str, int]:
        rows = self._quality.rows(2)
        return {
            name: sum(int(row["examples"]) for row in rows if row["arm"] == name)
            for name in (CONTROL, CANARY)
        }

    def _note(self, what: str) -> None:
        line = f"{time.monotonic() - self._started:6.1f} s  {what}"
        self._report.faults.append(line)
        tell(line)


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        return str(page.read().decode())
