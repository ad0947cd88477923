"""Runs `segue try`: feeds a history to an embedded Segue, trains a model, returns lists."""

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from segue.demo.judge import Histories
from segue.demo.material import Material, spanning
from segue.demo.one_process import OneProcess
from segue.demo.one_process_steps import ask, learn_history
from segue.demo.runtime import DemoError
from segue.demo.steps import Speed, applied, until
from segue.screen import Bars
from segue.settings import Settings
from segue.showing import titles_of
from streams import decode_items

__all__ = ["Budget", "Person", "first_look", "require_enough", "try_settings"]

#: People whose lists are shown, and where they stand among the users by number of events: the very
#: first are often robots, and the last have hardly any history.
STANDING = (0.1, 0.25, 0.4)
#: Least history of a person who is shown, if there are such people.
SHOWN_EVENTS = 5
#: Items of a history and of a list that are shown.
SHOWN_ITEMS = 5
#: Below these there is nothing to learn: chosen so that every step has something to work on.
LEAST = {"events": 100, "users": 10, "items": 10}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Work limits of `segue try`, in steps, so that a seed gives the same result on any machine.

    hgnn_epochs: passes over the graph. epochs: passes of the two-tower over the examples.
    """

    hgnn_epochs: int = 3
    epochs: float = 2.0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user: history (newest first) and recommendations (best first)."""

    user_id: str
    list: str
    history: tuple[str, ...]
    recommended: tuple[str, ...]


def try_settings(base: Settings, material: Material, budget: Budget) -> Settings:
    """Return settings for a short run on this material: its window and work limits."""
    train = replace(base.static.train, epochs=budget.hgnn_epochs, max_seconds=0.0)
    settings = spanning(base, material, train, seed=budget.seed)
    dynamic = settings.dynamic
    return replace(
        settings, dynamic=replace(dynamic, replay=replace(dynamic.replay, epochs=budget.epochs))
    )


def require_enough(material: Material) -> None:
    """Raise DemoError if the data are too few to learn from."""
    events = material.events
    found = {
        "events": events.height,
        "users": events["user_id"].n_unique(),
        "items": material.catalogue.num_rows,
    }
    if any(found[name] < least for name, least in LEAST.items()):
        raise DemoError(
            f"{material.title}: {_counts(found)} are too few to learn from; expected at least "
            f"{_counts(LEAST)}. Provide a longer history, or run `segue try` without files"
        )


async def first_look(
    runtime: OneProcess, material: Material, budget: Budget, bars: Bars
) -> dict[str, Any]:
    """Train on a history and request the lists of some users; returns the figures.

    The roles keep running, so that the console can be served next to them. Raises DemoError.
    """
    started, speed = time.monotonic(), Speed()
    bundle = await learn_history(runtime, material, budget.seed, bars, speed)
    await until(
        runtime,
        lambda: runtime.serves(bundle.generation),
        "the worker does not serve the trainer's bundle",
    )
    await applied(runtime, bars, "apply remaining records")
    await runtime.checkpoint()
    people = await _people(runtime, material)
    runtime.check()
    return {
        "data": material.title,
        "events": speed.events,
        "users": material.events["user_id"].n_unique(),
        "items": material.catalogue.num_rows,
        "people": people,
        "learn_seconds": round(time.monotonic() - started, 1),
    }


async def _people(runtime: OneProcess, material: Material) -> list[Person]:
    """Return the histories and lists of some users."""
    users = _chosen(material.events)
    answers = await ask(runtime, users)
    lists = {user: next(iter(answers[user].values())) for user in users}
    catalogue = await runtime.read(runtime.settings.topics.catalogue, {})
    titles = titles_of(decode_items(catalogue)[0].records)
    several = len(material.item_types) > 1

    def name(item_type: str, item_id: str) -> str:
        title = titles.get((item_type, item_id), item_id)
        return f"{title} [{item_type}]" if several else title

    scratch = runtime.settings.folder / "scratch"
    histories = await asyncio.to_thread(Histories, runtime.settings, scratch)
    try:
        return [
            Person(
                user_id=user,
                list=answer.list,
                history=tuple(
                    name(row["item_type"], row["item_id"])
                    for row in histories.rows(user, titles, SHOWN_ITEMS)
                ),
                recommended=tuple(
                    name(item.item_type, item.item_id) for item in answer.items[:SHOWN_ITEMS]
                ),
            )
            for user, answer in lists.items()
        ]
    finally:
        histories.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _chosen(events: pl.DataFrame) -> list[str]:
    """Return some users by their number of events."""
    counts = events.group_by("user_id").len().sort(["len", "user_id"], descending=[True, False])
    known = counts.filter(pl.col("len") >= SHOWN_EVENTS)
    users = (known if known.height else counts)["user_id"].to_list()
    return list(dict.fromkeys(users[int(standing * len(users))] for standing in STANDING))


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count:,} {name[:-1] if count == 1 else name}" for name, count in found.items()
    )
