"""What each part of our ranking is worth: heads trained without it, on the same lists.

`python -m evaluation.ablation EVENTS ITEMS --at 2014-04-04 --test-days 30` fits the models
once, reads the features of all lists once, and trains a head for each part that is left out and
each seed. The candidates stay the same, so that only what the head knows differs.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dynamic_layer.head.candidates import NONE
from dynamic_layer.head.ranking_head import HeadSettings, HeadTrainer, Lists
from dynamic_layer.training.tower_fits import TowerFitSettings
from evaluation.dataset import Dataset, read_dataset
from evaluation.segue_fits import text_vectors
from evaluation.segue_lists import drawn, lists_of
from evaluation.segue_model import Fitted, fit
from evaluation.segue_settings import SegueSettings
from evaluation.split import TimeSplit, held_out, time_split

Columns = npt.NDArray[np.bool_]


def columns_without(names: Sequence[str], part: str) -> Columns:
    """Return which features stay, bool [f], when a part is left out.

    part: a source (`ease`, `demand`, ...), `z` for standardised or `plain` for plain features,
    or several joined by `+`; empty for none.

    >>> columns_without(["z:ease@30d", "ease@30d", "age", "new"], "age+z").tolist()
    [False, True, False, False]
    """
    groups = {
        "age": ("age", "silent", "new"),
        "user": ("history", "of-type", "type-share", "away", "active"),
        "past": tuple(name for name in names if name.startswith("past-")),
    }
    kept = np.ones(len(names), np.bool_)
    for gone in filter(None, part.split("+")):
        for place, name in enumerate(names):
            plain = name.removeprefix("z:")
            source = plain.split("@")[0].removesuffix("-3").removesuffix("-nearest")
            if (
                source in groups.get(gone, (gone,))
                or (gone == "user" and source.startswith("type-"))
                or (gone == "z" and name.startswith("z:"))
                or (gone == "plain" and not name.startswith("z:"))
            ):
                kept[place] = False
    return kept


def cut(lists: Lists, kept: Columns) -> Lists:
    """Return lists with some of their features."""
    return Lists(features=lists.features[:, :, kept], label=lists.label, valid=lists.valid)


@dataclass(frozen=True, kw_only=True)
class TestUsers:
    """Lists of test users, and which of their candidates are of which type.

    number: i64 [u, c], the type of a candidate, -1 for none. held_out: bool [u, types], whether a
    user has a held-out item of the type at all.
    """

    lists: Lists
    number: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]


def hits_at_10(
    train: Sequence[Lists],
    test: Sequence[TestUsers],
    names: Sequence[str],
    kept: Columns,
    settings: HeadSettings,
    *,
    seed: int,
) -> npt.NDArray[np.float64]:
    """Train a head on some features and return each test user's hits, f64 [u, 1 + types].

    In the top 10 of all types, then of each type; NaN where the user has nothing held out.
    """
    chosen = [name for name, there in zip(names, kept, strict=True) if there]
    trainer = HeadTrainer(chosen, settings, seed=seed)
    for lists in train:
        trainer.add(cut(lists, kept))
    trainer.train()
    head = trainer.publish()
    hits = []
    for users in test:
        part = cut(users.lists, kept)
        scores = head.scores(np.asarray(part.features, np.float32), part.valid)
        found = [_hit(scores, part.label)]
        for number in range(users.held_out.shape[1]):
            own = np.where(users.number == number, scores, -np.inf)
            hit = _hit(own, part.label & (users.number == number))
            found.append(np.where(users.held_out[:, number], hit, np.nan))
        hits.append(np.stack(found, axis=1))
    return np.concatenate(hits).astype(np.float64)


def _hit(scores: npt.NDArray[np.float32], label: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return np.asarray(np.take_along_axis(label, top, axis=1).any(axis=1), np.float64)


def test_users(
    dataset: Dataset, split: TimeSplit, fitted: Fitted, settings: SegueSettings, *, seed: int
) -> list[TestUsers]:
    """Return the lists of a sample of test users, those without a hit among them included."""
    truth = held_out(split, np.arange(len(dataset.items)))
    sources = fitted.sources
    places = drawn(truth, settings.max_lists, np.random.default_rng(seed))
    counted = np.zeros((len(truth.users), sources.types), np.bool_)
    counted[
        np.repeat(np.arange(len(truth.users)), truth.counts()), sources.type_number[truth.item]
    ] = True
    found = []
    done = 0
    for candidates, lists in lists_of(
        fitted.moment, truth, places, sources, settings, repeats=False
    ):
        number = np.where(candidates == NONE, -1, sources.type_number[candidates])
        rows = places[done : done + len(lists)]
        found.append(TestUsers(lists=lists, number=number, held_out=counted[rows]))
        done += len(lists)
    return found


LINEAR = "hidden layer"
PARTS = (
    "", "ease", "cosine", "recent", "borrowed+lent", "text", "graph", "towers", "demand", "age",
    "user", "z", "plain",
    "ease+cosine", "text+graph+towers", "ease+cosine+graph+towers+text", LINEAR,
)  # fmt: skip


def ablate(
    dataset: Dataset,
    split: TimeSplit,
    settings: SegueSettings,
    *,
    text: npt.NDArray[np.float32] | None,
    seeds: Sequence[int],
    max_users: int,
    parts: Sequence[str] = PARTS,
) -> Iterator[Mapping[str, object]]:
    """Yield a row for each part left out and seed of the head: HR@10 of all types and of each.

    The models behind the features, the lists and the test users are those of the first seed.
    """
    fitted = fit(dataset, split, seed=seeds[0], progress=_report, settings=settings, text=text)
    rules = replace(fitted.settings, max_lists=max_users)
    tests = test_users(dataset, split, fitted, rules, seed=seeds[0])
    found = np.concatenate([users.lists.label.any(axis=1) for users in tests])
    for part in parts:
        head = replace(settings.head, hidden=0) if part == LINEAR else settings.head
        kept = columns_without(fitted.names, "" if part == LINEAR else part)
        if kept.all() and part not in {"", LINEAR}:
            continue  # there is no such feature
        for seed in seeds:
            hits = hits_at_10(fitted.lists, tests, fitted.names, kept, head, seed=seed)
            by_type = dict(
                zip(dataset.item_types, np.nanmean(hits[:, 1:], axis=0).tolist(), strict=True)
            )
            yield {
                "without": part,
                "seed": seed,
                "features": int(kept.sum()),
                "all": float(hits[:, 0].mean()),
                **by_type,
                "users": len(hits),
                "among candidates": float(found.mean()),
            }


def _report(stage: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
    print(f"{stage} {done}/{total} {figures or ''}", file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a JSON line per seed and part."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.ablation", description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--at", required=True, help="the split, a date (UTC)")
    parser.add_argument("--test-days", type=float, default=30)
    parser.add_argument("--max-users", type=int, default=4_000, help="test users per type")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--text-cache", default="", help="file of known text vectors")
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--towers", action="store_true", help="with a two-tower")
    parser.add_argument("--horizon-days", type=float, default=30, help="of the head's labels")
    parser.add_argument("--windows", type=int, default=2, help="moments that lists are drawn from")
    chosen = parser.parse_args(arguments)
    dataset = read_dataset(chosen.events, chosen.items)
    at_ms = int(datetime.fromisoformat(chosen.at).replace(tzinfo=UTC).timestamp() * 1_000)
    end_ms = at_ms + round(chosen.test_days * 86_400_000)
    split = time_split(dataset.events, test_days=chosen.test_days, end_ms=end_ms)
    settings = SegueSettings(horizon_days=chosen.horizon_days, windows=chosen.windows)
    if chosen.towers:
        settings = replace(settings, towers=TowerFitSettings())
    _report(json.dumps(asdict(settings)), 0, 0)
    text = text_vectors(dataset, _report, cache=chosen.text_cache)
    for row in ablate(
        dataset,
        split,
        settings,
        text=text,
        seeds=chosen.seeds,
        max_users=chosen.max_users,
        parts=chosen.parts,
    ):
        print(json.dumps(row), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
