"""The prequential measure: who is asked, about what, and what becomes of the answers."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dynamic_layer import (
    DynamicBundle,
    HeadSettings,
    HeadTrainer,
    Lists,
    Popularity,
    PopularitySettings,
    Trainer,
)
from dynamic_layer.examples.ranking import affinities, known_rows, user_features
from dynamic_layer.examples.replay import pad
from dynamic_layer.items.features import ItemRows
from dynamic_layer.lists.head_learning import made_lists, ranking_settings
from dynamic_layer.lists.list_maker import ListMaker
from dynamic_layer.measure import prequential
from dynamic_layer.measure.prequential import (
    KEPT_DAYS,
    MAX_ROWS,
    OPEN_DAYS,
    Asked,
    Prequential,
    Row,
)
from dynamic_layer.measure.served_ranks import ServedRanks
from tests.dynamic_layer.worlds import DAY_MS, SMALL, START_MS, TOPIC, Items, make_examples

NEW = 6_000  # the bundle has learned from the offsets before


def measure(
    folder: Path,
    bundle: DynamicBundle | None,
    per_second: float = 1e6,
    popularity: PopularitySettings = SMALL.popularity,
) -> Prequential:
    clock = SimpleNamespace(ms=0)
    found = Prequential(
        folder,
        per_second=per_second,
        history_cap=10,
        popularity=popularity,
        ticks_ms=lambda: clock.ms,
    )
    found.clock = clock
    found.serve(bundle)
    clock.ms = 1_000
    return found


def test_ranks_are_those_of_all_scores_written_out(bundle: DynamicBundle, items: Items) -> None:
    batch = make_examples(items, 300, first_offset=NEW, seed=9)
    unknown = batch.target.copy()
    unknown[::7] += np.uint64(1)
    examples = pad(replace(batch, target=unknown), 10, 0)
    rows = ItemRows(bundle.item_keys)
    users, target = user_features(examples, rows, 10), torch.from_numpy(rows(examples.target))
    expected = np.zeros(len(examples))
    for scored in affinities(
        bundle.user_vectors(users) / bundle.model.temperature,
        torch.from_numpy(bundle.vectors),
        target=target.clamp(min=0),
        known=torch.from_numpy(known_rows(examples, rows)),
        type_number=bundle.features.type_number,
    ):
        expected[scored.examples] = scored.ranks(torch.from_numpy(bundle.bias))
    found = ServedRanks(bundle).ask(examples, bundle_counts(bundle))
    known, personal = target.numpy() >= 0, ~found.newcomer
    assert 20 < (known & ~personal).sum() < 100
    assert np.isinf(found.served[~known]).all()
    assert np.isinf(found.popularity[~known]).all()
    assert (found.type_number[~known] == -1).all()
    np.testing.assert_array_equal(found.served[known & personal], expected[known & personal])
    np.testing.assert_array_equal(
        found.served[known & ~personal], found.popularity[known & ~personal]
    )
    types, everywhere = bundle.features.type_number.numpy(), bundle.popularity[0]
    for place in np.flatnonzero(known)[:60]:
        own = bundle.popularity.get(int(examples.country[place]), everywhere)
        aim = int(target[place])
        rivals = np.flatnonzero(types == types[aim])
        had = users.history[place].numpy()[users.strong[place].numpy()]
        rivals = rivals[~np.isin(rivals, had) & (rivals != aim)]
        pairs = [(own[row], everywhere[row]) for row in rivals]
        mine = (own[aim], everywhere[aim])
        before = sum(pair > mine for pair in pairs) + 0.5 * sum(pair == mine for pair in pairs)
        assert found.popularity[place] == before


def bundle_counts(bundle: DynamicBundle):
    return Popularity(bucket_hours=6, window_days=90)


def test_a_bundle_with_a_head_is_asked_for_the_heads_ranks(
    bundle: DynamicBundle, items: Items
) -> None:
    settings = ranking_settings(bundle)
    maker = ListMaker(bundle, settings)
    trainer = HeadTrainer(maker.names, HeadSettings(hidden=0), seed=1, start={"towers": 1.0})
    rng = np.random.default_rng(0)
    trainer.add(
        Lists(
            features=rng.normal(size=(8, 4, len(maker.names))),
            label=np.eye(4, dtype=bool)[rng.integers(4, size=8)],
            valid=np.ones((8, 4), bool),
        )
    )
    headed = replace(bundle, head=trainer.publish())
    examples = pad(make_examples(items, 120, first_offset=NEW, seed=4), 10, 0)
    counts = bundle_counts(bundle)
    found = ServedRanks(headed).ask(examples, counts)
    made = list(made_lists(headed, maker, examples, counts, settings.demand_half_lives_days))
    assert made
    for part in made:
        personal = ~found.newcomer[part.place]
        served = found.served[part.place]
        np.testing.assert_array_equal((served < 10)[personal], part.head[personal])
        assert np.isinf(served[personal & ~part.lists.label.any(axis=1)]).all()


def test_only_what_nobody_has_learned_from_is_asked_about(
    bundle: DynamicBundle, items: Items, tmp_path: Path
) -> None:
    assert bundle.manifest["unseen_from"] == {TOPIC: {"0": NEW}}
    found = measure(tmp_path, bundle)
    found.sample(make_examples(items, 200, first_offset=NEW - 100))
    new = make_examples(items, 200, first_offset=NEW - 100).take(np.arange(100, 200))
    assert found.waiting == int(new.strong.sum())
    assert found.left_out["learned"] == 200 - 100 - int(
        (~make_examples(items, 200, first_offset=NEW - 100).strong[:100]).sum()
    )
    had = replace(new, repeat=np.ones(100, bool), offset=new.offset + 1_000)
    before = found.waiting
    found.sample(had)
    assert found.waiting == before, "what the user had is in no list"
    silent = measure(tmp_path, replace(bundle, manifest={"settings": {}}))
    silent.sample(new)
    assert silent.waiting == 0, "nobody knows what it has learned from"


def test_what_is_in_the_graph_counts_as_learned(items: Items) -> None:
    static = replace(items, manifest={"name": "s", "offsets": {TOPIC: {"0": 150, "3": 7}}})
    trainer = Trainer(static, SMALL, seed=0)
    trainer.add(make_examples(items, 100))
    trainer.add(make_examples(items, 40, partition=1))
    assert trainer.publish().manifest["unseen_from"] == {TOPIC: {"0": 150, "3": 7, "1": 40}}


def test_the_sample_keeps_to_its_budget(
    bundle: DynamicBundle, items: Items, tmp_path: Path
) -> None:
    found = measure(tmp_path, bundle, per_second=20)
    batch = make_examples(items, 500, first_offset=NEW)
    found.sample(batch)
    assert found.waiting == 20
    assert found.left_out["budget"] == int(batch.strong.sum()) - 20
    found.sample(make_examples(items, 500, first_offset=NEW + 500))
    assert found.waiting == 20
    found.clock.ms += 3_600_000
    found.sample(make_examples(items, 1_000, first_offset=NEW + 1_000))
    assert found.waiting == 20 + 200, "ten seconds of it can be saved up"
    off = measure(tmp_path, bundle, per_second=0)
    off.sample(batch)
    assert off.waiting == 0


def table(folder: Path) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def at(batch, day: int):
    """The same examples on another day."""
    return replace(
        batch,
        timestamp=np.full(len(batch), START_MS + day * DAY_MS),
        history_time=np.full(len(batch.history_time), START_MS + day * DAY_MS - 5_000),
    )


def test_the_table_has_a_row_for_each_day_type_and_generation(
    bundle: DynamicBundle, items: Items, tmp_path: Path
) -> None:
    found, counts = measure(tmp_path, bundle), bundle_counts(bundle)
    first = at(make_examples(items, 300, first_offset=NEW, seed=2), 0)
    found.sample(first)
    found.ask(counts)
    later = replace(bundle, manifest=bundle.manifest | {"generation": 2})
    found.serve(later)
    found.sample(at(make_examples(items, 300, first_offset=NEW + 300, seed=3), 1))
    found.sample(at(make_examples(items, 300, first_offset=NEW + 600, seed=5), 0))
    with pytest.raises(ValueError, match="wait for another bundle"):
        found.serve(bundle)
    found.ask(counts)
    found.write()
    rows = table(tmp_path)
    days = [("2023-11-14", 1), ("2023-11-14", 2), ("2023-11-15", 2)]
    assert sorted((r["day"], r["generation"], r["item_type"]) for r in rows) == sorted(
        (*day, kind) for day in days for kind in ("audiobook", "podcast")
    )
    assert all(row["arm"] == "default" for row in rows)
    of_first = [r for r in rows if r["generation"] == 1]
    assert sum(r["examples"] for r in of_first) == int(first.strong.sum())
    asked = ServedRanks(bundle).ask(pad(first.take(first.strong), 10, 0), counts)
    for row in of_first:
        mine = asked.type_number == bundle.types.index(row["item_type"])
        assert row["hr_at_10"] == pytest.approx((asked.served[mine] < 10).mean())
        assert row["mrr"] == pytest.approx((1 / (1 + asked.served[mine])).mean())
        assert row["popularity_hr_at_10"] == pytest.approx((asked.popularity[mine] < 10).mean())
        assert row["newcomers"] == asked.newcomer[mine].sum()
    # The world tells its users' taste: what is served knows it, and popularity does not.
    assert sum(r["hits"] for r in rows) > 1.5 * sum(r["popularity_hits"] for r in rows)


def test_a_kill_counts_nothing_twice(bundle: DynamicBundle, items: Items, tmp_path: Path) -> None:
    counts = bundle_counts(bundle)

    def run(folder: Path, kill: bool) -> list[dict]:
        found, saved = measure(folder, bundle), None
        parts = [at(make_examples(items, 60, first_offset=NEW + 60 * k, seed=k), k // 2)
                 for k in range(6)]  # fmt: skip
        for place, part in enumerate(parts):
            found.sample(part)
            found.ask(counts)
            if place in (2, 4):
                found.write()
            if place == 2:
                saved = found.saved()
        if kill:  # after the table was written, and before the checkpoint was
            found = measure(folder, bundle)
            found.restore(saved)
            for part in parts[3:]:
                found.sample(part)
                found.ask(counts)
        found.write()
        return table(folder)

    assert run(tmp_path / "a", kill=True) == run(tmp_path / "b", kill=False)


def test_rows_and_files_are_bounded(tmp_path: Path) -> None:
    found = measure(tmp_path, None)
    for day in range(KEPT_DAYS + 20):
        assert found._add(Row(day, "podcast", 1, "default"), Asked(examples=1))
        found.write()
    assert len(list(tmp_path.iterdir())) == KEPT_DAYS
    assert len(found._rows) == OPEN_DAYS
    assert not found._add(Row(5, "podcast", 1, "default"), Asked(examples=3))
    assert found.left_out["late"] == 3
    today = KEPT_DAYS + 20
    found._rows |= {Row(today, f"{n}", 1, "default"): Asked(examples=1) for n in range(MAX_ROWS)}
    assert not found._add(Row(today, "audiobook", 1, "default"), Asked(examples=2))
    assert found.left_out["rows"] == 2


def test_a_day_of_many_types_and_bundles_leaves_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prequential, "MAX_ROWS", 100)
    found = measure(tmp_path, None)
    types = [f"type {number}" for number in range(40)]
    for generation in range(30):
        for name in types:
            assert found._add(Row(7, name, generation, "default"), Asked(examples=1, hits=0.5))
    assert len(found._rows) <= 100
    assert found.left_out["rows"] == 0
    for name in types:
        mine = [asked for row, asked in found._rows.items() if row.item_type == name]
        assert sum(asked.examples for asked in mine) == 30
        assert sum(asked.hits for asked in mine) == 15


def test_an_examples_arm_decides_its_row_and_other_channels_arms_are_left_to_others(
    bundle: DynamicBundle, items: Items, tmp_path: Path
) -> None:
    batch = at(make_examples(items, 300, first_offset=NEW, seed=2), 0)
    names = ["old", "new", "far"]
    batch = replace(batch, arm=[names[row % 3] for row in range(300)])
    batch = type(batch).unpack(batch.pack())  # as it comes from the log
    counts = bundle_counts(bundle)

    def rows(arms) -> dict[str, list[tuple]]:
        found = Prequential(
            tmp_path,
            per_second=1e6,
            history_cap=10,
            ticks_ms=lambda: clock.ms,
            arms=arms,
            popularity=PopularitySettings(),
        )
        found.serve(bundle)
        clock.ms += 10_000
        found.sample(batch)
        found.ask(counts)
        of_arm: dict[str, list[tuple]] = {}
        for row, asked in found._rows.items():
            of_arm.setdefault(row.arm, []).append((row, asked))
        return of_arm

    clock = SimpleNamespace(ms=0)
    mine, every = rows({"old", "new"}), rows(None)
    assert mine.keys() == {"old", "new"}
    for arm in mine:
        of_it = batch.strong & (np.array(batch.arm) == arm)
        assert sum(asked.examples for _, asked in mine[arm]) == int(of_it.sum())
        expected = ServedRanks(bundle).ask(pad(batch.take(of_it), 10, 0), counts)
        assert sum(asked.hits for _, asked in mine[arm]) == (expected.served < 10).sum()
    assert every.keys() == {"default"}, "where users are not divided there is one arm"
    assert sum(asked.examples for _, asked in every["default"]) == int(batch.strong.sum())
