"""The verdict on a canary's life: arms, bundles, states and trainers, all held against the log."""

import asyncio
from collections.abc import Mapping, Sequence

from agents.bundles.announcements import announcement_of
from dynamic_layer import ExampleBatch
from segue.settings import Settings
from streams import ArmShare, LogRecord, Recommendation, decode, read_from
from tests.canary.checker import Placed, fallen, placing, served_differences, share_differences
from tests.canary.world import CANARY, CONTROL, EXPERIMENT
from tests.crash import checker
from tests.crash.learned import judge_learning
from tests.crash.replay import copies, replay
from tests.crash.run import Report
from tests.crash.supervisor import Cluster
from tests.dynamic_layer.worlds import Items

__all__ = ["judge"]

#: A share is news to all workers within this, ms; while a bundle loads, records wait.
FOLLOWED_MS = 5_000
#: An event becomes an example within this, ms; a worker that was killed is back by then.
APPLIED_MS = 30_000


async def judge(settings: Settings, world: Items, cluster: Cluster, report: Report) -> None:
    """Add to the report what is not as it should be; everybody has ended in order."""
    names, scratch = settings.topics, settings.folder / "scratch"
    events, examples, models = [
        await read_from(settings.kafka, name)
        for name in (names.events, names.examples, names.models)
    ]
    answers = [
        decode(Recommendation, record.value or b"")
        for record in await read_from(settings.kafka, names.recommendations)
    ]
    _judge_arms(settings, events, examples, models, answers, report)
    keyed = [
        *[
            r
            for name in (names.catalogue, names.users)
            for r in await read_from(settings.kafka, name)
        ],
        *events,
    ]
    again = await replay(settings, keyed, scratch)
    disks = [worker.disk for worker in cluster.workers.values()]
    states, _, broken = await copies(settings, disks, keyed, scratch)
    report.differences += checker.state_differences(states, again.dumps) + broken
    report.figures["copies_compared"] = len(states)
    for arm in EXPERIMENT.arms:
        own = [answer for answer in answers if answer.arm == arm.name]
        learned = await asyncio.to_thread(
            judge_learning, settings, world, report.seed, examples, models, own, arm.channel
        )
        report.differences += learned.differences
        report.figures[arm.name] = learned.figures


def _judge_arms(
    settings: Settings,
    events: Sequence[LogRecord],
    examples: Sequence[LogRecord],
    models: Sequence[LogRecord],
    answers: Sequence[Recommendation],
    report: Report,
) -> None:
    said = [
        decode(ArmShare, record.value or b"")
        for record in models
        if record.key == f"share/{CANARY}".encode()
    ]
    report.differences += share_differences(said, EXPERIMENT.arms[1])
    shares = [(one.changed_at, one.share) for one in said]
    announced: dict[str, set[int]] = {}
    for one in filter(None, map(announcement_of, models)):
        announced.setdefault(one.channel, set()).add(one.generation)
    channels = {arm.name: arm.channel for arm in EXPERIMENT.arms}
    report.differences += served_differences(answers, channels, announced)
    bad = max(one.generation for one in answers if one.arm == CANARY)
    for what, placed in (
        ("answers", _placed_answers(answers)),
        ("examples", _placed_examples(settings, events, examples)),
    ):
        found = placing(EXPERIMENT, CANARY, shares, placed)
        report.differences += found.differences
        report.figures[f"{what}_with_certain_arms"] = found.by_arm
        if found.by_arm.keys() != {CONTROL, CANARY}:
            report.differences.append(f"{what} of one arm cannot be judged: {found.by_arm}")
    report.figures |= {
        "answers": len(answers),
        "answers_to_canary": sum(one.arm == CANARY for one in answers),
        "answers_after_fall": sum(one.created_at > shares[-1][0] for one in answers),
        "last_generation_to_canary": bad,
        "ms_to_fall_in_workers": fallen(answers, CANARY, shares[-1][0]),
    }


def _placed_answers(answers: Sequence[Recommendation]) -> list[Placed]:
    return [
        Placed(one.user_id, one.arm, one.created_at - FOLLOWED_MS, one.created_at)
        for one in answers
    ]


def _placed_examples(
    settings: Settings, events: Sequence[LogRecord], examples: Sequence[LogRecord]
) -> list[Placed]:
    """Who was in which arm when an example was made of an event: it says the place alone."""
    places: Mapping[tuple[int, int], LogRecord] = {(r.partition, r.offset): r for r in events}
    found = []
    for record in examples:
        batch = ExampleBatch.unpack(record.value or b"")
        for offset, arm in zip(batch.offset.tolist(), batch.arm or [], strict=True):
            event = places[batch.partition, offset]
            at = event.timestamp
            user = (event.key or b"").decode()
            found.append(Placed(user, arm, at - FOLLOWED_MS, at + APPLIED_MS))
    return found
