"""Steps of runs with all roles in one process: learn from a history, request lists."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from dynamic_layer import DynamicBundle
from segue.demo.material import Material
from segue.demo.one_process import OneProcess
from segue.demo.runtime import POLL_S, DemoError
from segue.demo.steps import Speed, ingest, make_static, rested_bundle, write_world
from segue.screen import Bars, StageBars
from static_layer import StaticBundle
from streams import Recommendation, Request, Source, encode, readable

__all__ = ["ask", "learn_history"]

#: Longest wait for a further answer, in seconds.
PATIENCE_S = 300.0


async def learn_history(
    runtime: OneProcess,
    material: Material,
    seed: int,
    bars: Bars,
    speed: Speed,
    change: Callable[[StaticBundle], StaticBundle] | None = None,
) -> DynamicBundle:
    """Apply the history before the split and return the bundle that the trainer made of all of it.

    change: of the static bundle, before it is published.

    The static job builds the graph from the first part, the trainer learns from the second. Raises
    DemoError if nothing can be learned.
    """
    await write_world(runtime, bars, material)
    await ingest(runtime, bars, material, "graph", speed)
    await runtime.checkpoint()
    await make_static(runtime, seed, StageBars(bars), change)
    await ingest(runtime, bars, material, "learn", speed)
    if not sum((await runtime.ends(runtime.settings.topics.examples)).values()):
        raise DemoError(
            f"{material.title}: no event forms a training example. Expected users with "
            f"several events at different times"
        )
    await runtime.checkpoint()  # tells the trainer of all demand
    await runtime.learn()
    return await _rested(runtime, material, bars)


async def _rested(runtime: OneProcess, material: Material, bars: Bars) -> DynamicBundle:
    """Wait for the bundle that holds all examples."""
    task = bars.add_task("train the two-tower", total=None, note="")
    waiting = asyncio.ensure_future(rested_bundle(runtime))
    try:
        while not waiting.done():
            if runtime.train.starved and not await runtime.examples_waiting():
                raise DemoError(
                    f"{material.title}: there are no training examples, because the later events "
                    f"are few or repeat earlier items of the users. Provide a longer history"
                )
            made, lists = runtime.train.lists_made
            note = f"steps; ranking head: {made:,} of {lists:,} lists" if lists else "steps"
            bars.update(task, completed=runtime.train.steps, note=note)
            await asyncio.wait([waiting], timeout=POLL_S)
        bundle = await waiting
    finally:
        waiting.cancel()
    steps = max(1, runtime.train.steps)
    bars.update(task, completed=steps, total=steps, note=f"steps, generation {bundle.generation}")
    return bundle


async def ask(
    runtime: OneProcess,
    users: Sequence[str],
    lists: Collection[str] = (),
    *,
    poll_s: float = POLL_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Mapping[str, Recommendation]]:
    """Request lists on the requests topic; return user -> list -> answer, from their topic.

    lists: names of the lists to wait for; without any, one list of each user is enough, and a list
    with items is preferred. progress: called with the number of users answered. Raises DemoError
    if no further answer comes for a minute.
    """
    topics = runtime.settings.topics
    at = await runtime.ends(topics.recommendations)
    places: set[Source] = set()
    for user in users:
        request = Request(user_id=user)
        partition, offset, _ = await (
            await runtime.append(topics.requests, request.key, encode(request))
        )()
        places.add(Source(topic=topics.requests, partition=partition, offset=offset))
    found: dict[str, dict[str, Recommendation]] = {user: {} for user in users}
    waiting = set(users)
    deadline = time.monotonic() + PATIENCE_S
    while waiting:
        runtime.check()
        written = await runtime.read(topics.recommendations, at)
        for record in written:
            at[record.partition] = max(at.get(record.partition, 0), record.offset + 1)
        left = len(waiting)
        for _, answer in readable(Recommendation, written):
            if answer.source not in places:
                continue
            own = found[answer.user_id]
            if not lists and own and answer.items and not any(one.items for one in own.values()):
                own.clear()  # of a user who had every item of a type, that list is empty
            if lists or not own:
                own[answer.list] = answer
            if own.keys() >= set(lists):
                waiting.discard(answer.user_id)
        if len(waiting) < left:
            deadline = time.monotonic() + PATIENCE_S
            if progress is not None:
                progress(len(users) - len(waiting))
        elif time.monotonic() > deadline:
            missing = ", ".join(sorted(waiting)[:5])
            raise DemoError(
                f"the worker gave {len(waiting):,} users no list within {PATIENCE_S:.0f} s, "
                f"such as {missing}"
            )
        if waiting:
            await asyncio.sleep(poll_s)
    return dict(found)
