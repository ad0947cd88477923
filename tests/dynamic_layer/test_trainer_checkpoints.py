"""Checkpoints of the trainer: nothing is lost, nothing is trained on twice, torn ones are known."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamic_layer import AdoptionSettings, CorruptCheckpoint, Saved, Trainer, TrainerCheckpoints
from dynamic_layer.examples.batch import ExampleBatch
from dynamic_layer.examples.replay import PaddedExamples
from dynamic_layer.training.checkpoints import form_of
from tests.dynamic_layer.worlds import SMALL, TOPIC, Items, make_examples, make_items

ITEMS = make_items()
TINY = replace(
    SMALL,
    batch_size=32,
    replay=replace(SMALL.replay, capacity=300, holdout_size=40, epochs=2.0),
)


def batches(n: int, size: int = 60) -> list[ExampleBatch]:
    """Batches of two partitions in turn."""
    return [
        make_examples(ITEMS, size, first_offset=size * (k // 2), partition=k % 2, seed=k)
        for k in range(n)
    ]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    saved = trainer.saved()
    assert any("optimiser" in name for name in saved.arrays)
    return {name: torch.from_numpy(np.array(array)) for name, array in saved.arrays.items()}


def restored(folder: Path, items: Items = ITEMS, settings=TINY) -> tuple[Trainer, dict]:
    """A new process: the newest whole checkpoint, and what it says of the log."""
    trainer = Trainer(items, settings, seed=3)
    for checkpoint in TrainerCheckpoints(folder, segment=128).newest():
        checkpoint.restore(trainer)
        return trainer, dict(checkpoint.notes.values)
    return trainer, {"next": 0}


def write(trainer: Trainer, folder: Path, place: int) -> None:
    TrainerCheckpoints(folder, segment=128).write(trainer, Saved(values={"next": place}))


def test_a_kill_at_a_checkpoint_changes_no_weight(tmp_path: Path) -> None:
    def run(kills: set[int]) -> Trainer:
        folder = tmp_path / f"kills-{len(kills)}"
        trainer = Trainer(ITEMS, TINY, seed=3)
        checkpoints = TrainerCheckpoints(folder, segment=128)
        for place, batch in enumerate(batches(14, size=40)):
            trainer.add(batch)
            trainer.train(max_steps=5)
            if place in kills:
                checkpoints.write(trainer, Saved(values={"next": place + 1}))
                trainer, notes = restored(folder)
                checkpoints = TrainerCheckpoints(folder, segment=128)
                list(zip(checkpoints.newest(), range(1), strict=False))
                assert notes["next"] == place + 1
        trainer.train()
        return trainer

    whole, killed = run(set()), run({2, 7, 8, 12})
    assert whole._replay.written > TINY.replay.capacity, "the ring has gone round"
    before, after = weights(whole), weights(killed)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert torch.equal(values, after[name]), name
    torch.testing.assert_close(whole.publish().vectors, killed.publish().vectors, rtol=0, atol=0)
    assert whole.saved().values == killed.saved().values


@given(
    seed=st.integers(0, 1_000),
    checkpoint_share=st.floats(0.05, 0.6),
    kill_share=st.floats(0.05, 0.4),
)
@settings(
    deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_kills_lose_no_example_and_train_none_more_often_than_the_schedule_allows(
    tmp_path_factory: pytest.TempPathFactory, seed: int, checkpoint_share: float, kill_share: float
) -> None:
    """Kills at random places; what the last weights were trained on is what the log holds."""
    folder = tmp_path_factory.mktemp("kills")
    rng = np.random.default_rng(seed)
    log = batches(10, size=30)
    # With one epoch each example is trained on once: a second time is a second time.
    once = replace(TINY, replay=replace(TINY.replay, epochs=1.0, capacity=400))
    trainer, place, times = Trainer(ITEMS, once, seed=3), 0, Counter[tuple[int, int]]()
    saved_times = times.copy()

    def count(trainer: Trainer, times: Counter[tuple[int, int]]) -> None:
        take = trainer._steps.take

        def counting(examples, items, replay):
            times.update(zip(examples.source.tolist(), examples.offset.tolist(), strict=True))
            return take(examples, items, replay)

        trainer._steps.take = counting

    count(trainer, times)
    kills = 0
    while place < len(log) or trainer.train(max_steps=1).steps:
        if place < len(log):
            trainer.add(log[place])
            place += 1
        trainer.train(max_steps=int(rng.integers(3)))
        if rng.random() < checkpoint_share:
            write(trainer, folder, place)
            saved_times = times.copy()
        if rng.random() < kill_share and kills < 8:
            kills += 1
            trainer, notes = restored(folder, settings=once)
            place, times = notes["next"], saved_times.copy()
            count(trainer, times)
    expected = Trainer(ITEMS, once, seed=3)
    for batch in log:
        expected.add(batch)
    held = expected._replay.take(expected._replay.numbers())
    wanted = set(zip(held.source.tolist(), held.offset.tolist(), strict=True))
    assert set(times) == wanted
    assert set(times.values()) == {1}
    # Training puts them in order of time.
    assert sorted(expected.holdout().offset) == sorted(trainer.holdout().offset)


def test_a_torn_checkpoint_is_passed_over_and_then_there_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = Trainer(ITEMS, TINY, seed=3)
    for place, batch in enumerate(batches(3)):
        trainer.add(batch)
        trainer.train(max_steps=3)
        write(trainer, tmp_path, place)
    manifests = sorted(tmp_path.glob("*.json"))
    assert len(manifests) == 2, "the last two are kept"
    torn = manifests[1].read_text()
    manifests[1].write_text(torn[: len(torn) // 2])
    assert restored(tmp_path)[1]["next"] == 1
    assert "passed over" in caplog.text
    manifests[1].write_text(torn.replace('"next": 2', '"next": 9'))
    assert restored(tmp_path)[1]["next"] == 1
    files = set((tmp_path / "files").iterdir())
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    manifests[1].write_text(torn)
    fresh = Trainer(ITEMS, TINY, seed=3)
    assert list(TrainerCheckpoints(tmp_path).newest()) == []
    assert fresh.publish().manifest["metrics"]["steps"] == 0


def test_settings_of_few_lists_void_no_checkpoint() -> None:
    """A trainer of an earlier version, without these settings, goes on after the upgrade."""

    def form(**head: float) -> str:
        ranking = replace(TINY.ranking, head=replace(TINY.ranking.head, **head))
        return form_of(replace(TINY, ranking=ranking))

    assert form(few_lists=7, few_strength=9.0) == form_of(TINY)
    assert form(hidden=7) != form_of(TINY)


def test_damage_to_any_file_is_found(tmp_path: Path) -> None:
    trainer = Trainer(ITEMS, TINY, seed=3)
    for batch in batches(6):
        trainer.add(batch)
    write(trainer, tmp_path, 6)
    for file in (tmp_path / "files").iterdir():
        whole = file.read_bytes()
        for broken in (whole[:-1], whole[:40] + bytes([whole[40] ^ 255]) + whole[41:], b""):
            file.write_bytes(broken)
            with pytest.raises(CorruptCheckpoint):
                found = list(TrainerCheckpoints(tmp_path).newest())
                if not found:
                    raise CorruptCheckpoint("the state itself is passed over")
                found[0].restore(Trainer(ITEMS, TINY, seed=3))
        file.unlink()
        with pytest.raises(CorruptCheckpoint):
            found = list(TrainerCheckpoints(tmp_path).newest())
            if not found:
                raise CorruptCheckpoint("the state itself is passed over")
            found[0].restore(Trainer(ITEMS, TINY, seed=3))
        file.write_bytes(whole)
    assert restored(tmp_path)[1]["next"] == 6


def test_what_is_on_disk_is_not_written_again_and_what_is_not_needed_goes(tmp_path: Path) -> None:
    roomy = replace(TINY, replay=replace(TINY.replay, capacity=2_000))
    trainer = Trainer(ITEMS, roomy, seed=3)
    checkpoints = TrainerCheckpoints(tmp_path, segment=128)
    stamps: dict[str, int] = {}
    most = 0
    for place, batch in enumerate(batches(60)):
        trainer.add(batch)
        checkpoints.write(trainer, Saved(values={"next": place}))
        now = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "files").iterdir()}
        assert all(now[name] == stamp for name, stamp in stamps.items() if name in now)
        stamps, most = now, max(most, len(now))
    assert trainer._replay.written > 2_500
    # The segments of ring and hold-out, and for each checkpoint a state and two tails.
    assert most <= 2_000 // 128 + 2 + 2 + 2 * 3 + 1


def test_a_checkpoint_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(ITEMS, TINY, seed=3)
    trainer.add(batches(1)[0])
    write(trainer, tmp_path, 1)
    (checkpoint,) = TrainerCheckpoints(tmp_path).newest()
    for other in (
        replace(TINY, towers=replace(TINY.towers, layers=(16, 16))),
        replace(TINY, replay=replace(TINY.replay, history_cap=7)),
    ):
        with pytest.raises(CorruptCheckpoint, match="other settings"):
            checkpoint.restore(Trainer(ITEMS, other, seed=3))


def test_another_static_bundle_is_adopted_by_the_restored_trainer(tmp_path: Path) -> None:
    # Without the bundle that it learned on there is nothing to align to.
    raw = replace(TINY, adoption=AdoptionSettings(align=False, follow_steps=0))
    trainer = Trainer(ITEMS, raw, seed=3)
    for batch in batches(8):
        trainer.add(batch)
    trainer.train()
    write(trainer, tmp_path, 8)
    grown = make_items(132)
    grown.manifest = {"name": "static-2", "offsets": {TOPIC: {"0": 200, "1": 190}}}
    found, _ = restored(tmp_path, items=grown, settings=raw)
    trainer.adopt(grown)
    for one in (found, trainer):
        assert one.holdout().offset.min() >= 190
        one.train()
    for name, values in weights(trainer).items():
        assert torch.equal(values, weights(found)[name]), name
    assert found.publish().manifest["static"] == "static-2"
    other = make_items()
    other.item_types = ["track"] * len(other.item_ids)
    other.manifest = {"name": "static-3", "offsets": {}}
    anew, _ = restored(tmp_path, items=other)
    assert anew.train().steps > 0
    assert anew.publish().types == ["track"]


def test_examples_of_a_version_without_kinds_are_of_unknown_kinds(tmp_path: Path) -> None:
    trainer = Trainer(ITEMS, TINY, seed=3)
    trainer.add(batches(1)[0])
    write(trainer, tmp_path, 1)
    held = trainer.memories["replay"]
    older = vars(held.take(held.numbers()))
    assert not older.pop("kind").any()
    # Versions without impressions have none of their columns.
    older = {name: column for name, column in older.items() if not name.startswith("shown_")}
    assert not PaddedExamples(**older).kind.any()
    assert not PaddedExamples(**older).shown_length.any()
    again, _ = restored(tmp_path)
    assert again.memories["replay"].written == held.written
