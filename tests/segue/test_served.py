"""segue evaluate --served: lists on the recommendations topic of a small world."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from agents import TrainerSettings, WorkerSettings
from dynamic_layer import DynamicSettings, ListSettings, SequenceSettings
from evaluation import Interactions, dataset_of
from evaluation.measure import Measured
from evaluation.prequential.stream import PrequentialSettings
from evaluation.split import first_of
from evaluation.text import TextVectors
from evaluation.trial import TrialSettings, make_trial
from segue.cli import app
from segue.served.arms import Arm, arms_of
from segue.served.command import _asked
from segue.served.feed import Clock, Reader, _kinds, live_lists, material_of
from segue.served.flow import (
    _dynamic_of,
    _of_one_arm,
    _scalars_for_vectors,
    _settings,
    run_served,
)
from segue.served.learning import (
    HOUR_MS,
    LEARNERS,
    ROW_EVENTS,
    follows_graph,
    learning_settings,
    learning_times,
)
from segue.served.scores import _gains
from segue.settings import Settings, load_settings
from static_layer import StaticBundle, TextSettings
from static_layer.progress import silent
from streams import (
    ItemSourceSettings,
    Recommendation,
    RecommendedItem,
    Record,
    Source,
    SourceSettings,
    UserSourceSettings,
    encode,
)

DAY = 86_400_000
START = 1_400_000_000_000
DAYS = 40
LIVE = 12


def events() -> pl.DataFrame:
    """Users of four tastes: each streams items of one of four kinds, now and then another."""
    rng = np.random.default_rng(1)
    n = 1_600
    user = rng.integers(0, 60, n)
    taste = np.where(rng.random(n) < 0.9, user % 4, rng.integers(0, 4, n))
    item = taste + 4 * (25 * rng.random(n) ** 1.5).astype(int)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "item_type": "pod",
            "kind": np.where(rng.random(n) < 0.1, "follow", "stream"),
            "timestamp": np.sort(START + rng.integers(0, DAYS * DAY, n)),
        }
    )


def items() -> pl.DataFrame:
    kinds = ("knitting", "boxing", "sailing", "baking")
    return pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(100)],
            "item_type": "pod",
            "title": [f"{kinds[i % 4]} number {i}" for i in range(100)],
        }
    )


def trial(**settings):
    dataset = dataset_of(events(), items())
    text = TextVectors(dataset.items, TextSettings(), silent)
    return dataset, make_trial(dataset, TrialSettings(test_days=8.0, **settings), text)


def run(folder: Path, *options: str) -> dict:
    """Evaluate with a small budget; returns the rows and what was printed."""
    out = folder / "rows.json"
    done = CliRunner().invoke(
        app,
        ["evaluate", str(folder / "events.parquet"), str(folder / "items.parquet"),
         "--test-days", "8", *options, "--json", str(out), "--set", f"data={folder}",
         "--set", "static.text.backend=torch", "--set", "static.train.epochs=2",
         "--set", "dynamic.ranking.min_lists=20"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert not (folder / "served").exists()  # what the roles wrote is removed
    return {**json.loads(out.read_text()), "output": done.output}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    events().write_parquet(folder / "events.parquet")
    items().write_parquet(folder / "items.parquet")
    return folder


@pytest.fixture(scope="module")
def served(world: Path) -> dict:
    """One run with everything, towers with scalars in a second training."""
    return run(
        world, "--served", "--live", "--asked", str(LIVE), "--without", "head,hgnn:scalars",
        "--learn", "daily", "--models", "popularity,item_cf",
    )  # fmt: skip


def row(report: dict, model: str, mode: str, label: str) -> dict:
    found = [
        row for row in report["rows"]
        if (row["model"], row["mode"], row["label"]) == (model, mode, label)
        and (row["item_type"], row["segment"]) == ("all", "all")
    ]  # fmt: skip
    assert len(found) == 1
    return found[0]


def test_every_mode_and_label_has_a_row_beside_its_baselines(served):
    facts = served["trial"]
    assert facts["questions"] == LIVE
    for mode, label in (("frozen", "horizon"), ("frozen", "next"), ("live", "next")):
        for name in ("segue", "segue without head"):
            found = row(served, name, mode, label)
            low, high = found["hr_at_10_ci"]
            assert found["served"]
            assert 0 <= low <= found["hr_at_10"] <= high <= 1
            assert found["hgnn"] is True
            assert found["head"] is (name == "segue")
        baseline = "popularity_7d" if mode == "live" else "popularity"
        assert row(served, baseline, mode, label)["served"] is False
    assert row(served, "segue", "frozen", "horizon")["users"] == facts["test_users"]
    assert row(served, "segue", "live", "next")["asked"] == LIVE
    # More items count in the horizon, so that the same lists hit more often.
    assert (
        row(served, "segue", "frozen", "horizon")["hr_at_10"]
        >= row(served, "segue", "frozen", "next")["hr_at_10"]
    )
    assert "lists just before each event" in served["output"]


def test_arms_are_compared_by_user_in_every_tier(served):
    rows = {
        (row["model"], row["segment"]): row for row in served["rows"]
        if (row["mode"], row["label"], row["item_type"]) == ("frozen", "horizon", "all")
    }  # fmt: skip
    gains = [
        gain for gain in served["gains"]
        if (gain["mode"], gain["label"], gain["item_type"]) == ("frozen", "horizon", "all")
    ]  # fmt: skip
    pairs = {(gain["model"], gain["over"]) for gain in gains}
    assert pairs == {
        ("segue", "segue without head"), ("segue", "segue with scalars"),
        ("segue with scalars", "segue without head"),
    }  # fmt: skip
    for gain in gains:
        one, other = (rows[gain[arm], gain["segment"]] for arm in ("model", "over"))
        assert gain["gain"] == pytest.approx(one["hr_at_10"] / other["hr_at_10"] - 1)
        assert gain["gain_ci"][0] <= gain["gain"] <= gain["gain_ci"][1]
    assert {gain["segment"] for gain in gains} >= {"all", "head", "mid", "tail"}
    assert {row["users"] for (_, segment), row in rows.items() if segment == "all"} == {
        served["trial"]["test_users"]
    }
    live = [gain for gain in served["gains"] if gain["mode"] == "live"]
    assert {
        (gain["model"], gain["over"]) for gain in live if "segue daily" not in gain.values()
    } <= pairs
    assert live
    assert "HR@10 by tier of the answer" in served["output"]
    assert "gain in HR@10 between arms" in served["output"]


def test_gains_are_of_the_mean_over_seeds_and_over_an_arm_that_has_a_hit():
    def measured(segment: str, hits: list[float]) -> Measured:
        return Measured(
            item_type="all", segment=segment, users=np.arange(4), size=3,
            values={"hr_at_10": np.array(hits)}, lists=np.zeros((4, 1), np.int64),
        )  # fmt: skip

    some, all_of_them, none = [1.0, 0, 1, 0], [1.0, 1, 1, 1], [0.0, 0, 0, 0]
    arms = {
        Arm(): [[measured("all", some), measured("tail", some)],
                [measured("all", all_of_them), measured("tail", some)]],
        Arm(reads="text"): [[measured("all", some), measured("tail", none)]] * 2,
    }  # fmt: skip
    (gain,) = _gains(arms, seed=1)
    assert (gain.model, gain.over, gain.segment) == ("segue", "segue without hgnn", "all")
    assert gain.gain == pytest.approx(0.5)


def test_towers_of_the_control_read_two_scalars(served):
    """The arm is trained by itself, and its lists are others than the product's."""
    control = row(served, "segue with scalars", "frozen", "horizon")
    assert (control["reads"], control["hgnn"]) == ("control", False)
    product = row(served, "segue", "frozen", "horizon")
    assert (product["reads"], product["hgnn"]) == ("hgnn", True)
    assert control["mrr"] != product["mrr"]


def test_scalars_stand_in_the_place_of_the_vectors():
    bundle = StaticBundle(
        items=pl.DataFrame({"users": [0, 3, 9]}, schema={"users": pl.Int64}),
        text=np.zeros((3, 4), np.float16), hgnn=np.ones((3, 8), np.float32),
        model=None, manifest={},
    )  # fmt: skip
    found = _scalars_for_vectors(bundle).hgnn
    assert found.shape == (3, 2)
    assert found[0, 0] > found[1, 0] == found[2, 0]  # is new
    assert (np.diff(found[:, 1]) > 0).all()  # its users


def test_a_learner_publishes_while_the_test_is_played_and_is_compared_on_the_same_questions(served):
    found, frozen = (row(served, name, "live", "next") for name in ("segue daily", "segue"))
    assert (found["learn"], frozen["learn"]) == ("daily", "frozen")
    assert 1 <= found["published"][0] <= 8
    assert frozen["published"] == [0]
    assert found["asked"] == frozen["asked"] == LIVE
    assert sum(n for name, n in served["trial"]["strata"].items() if "age_" in name) == LIVE
    if frozen["hr_at_10"]:
        (gain,) = [
            gain for gain in served["gains"]
            if (gain["model"], gain["over"]) == ("segue daily", "segue")
            and (gain["item_type"], gain["segment"]) == ("all", "all")
        ]  # fmt: skip
        assert gain["gain"] == pytest.approx(found["hr_at_10"] / frozen["hr_at_10"] - 1)
    assert "age_older" in served["output"]


def test_the_row_of_every_table_is_the_served_one(served, world):
    """Two runs of the product with the same seed agree within noise."""
    report = run(world, "--models", "segue")
    (found,) = [
        row for row in report["rows"] if (row["item_type"], row["segment"]) == ("all", "all")
    ]
    expected = row(served, "segue", "frozen", "horizon")
    assert found["users"] == expected["users"]
    low, high = expected["hr_at_10_ci"]
    assert low <= found["hr_at_10"] <= high
    assert found["mrr"] == pytest.approx(expected["mrr"], rel=0.1)
    assert found["coverage"] == pytest.approx(expected["coverage"], rel=0.1)


def test_the_lists_on_the_topic_know_the_users_taste(served):
    for name in ("segue", "segue without head"):
        product = row(served, name, "frozen", "horizon")
        assert product["hr_at_10"] > row(served, "popularity", "frozen", "horizon")["hr_at_10"]
        assert product["coverage"] > 0.5


def test_an_arm_without_the_head_is_ranked_by_none(served):
    assert row(served, "segue without head", "frozen", "horizon")["by_head"] == 0
    assert row(served, "segue without head", "live", "next")["by_head"] == 0


def test_lists_that_count_as_shown_are_made_and_read_and_not_measured():
    dataset, made = trial(train_days=20.0)
    base = Settings(
        sources=(
            SourceSettings(topic="segue.impressions", format="impressions"),
            SourceSettings(topic="others", format="json"),
        ),
        item_sources=(ItemSourceSettings(topic="products"),),
        user_sources=(UserSourceSettings(topic="people"),),
        worker=WorkerSettings(
            lists=(ListSettings(name="top", k=10), ListSettings(name="other")), shown_lists=("top",)
        ),
    )
    material = material_of(dataset, made, made.past.at_ms + 4 * DAY, base)
    found = _settings(base, material, made, Path("folder"), 1, Arm())
    assert [one.topic for one in found.sources] == ["segue.impressions"]
    assert found.item_sources == found.user_sources == ()
    assert found.state.impressions
    assert [one.name for one in found.worker.lists] == ["mix", "discover-pod", "top"]
    assert found.worker.lists[-1].k == 10
    arm = _of_one_arm(found, Arm(), "one")
    assert [one.topic for one in arm.sources] == [arm.topics.impressions] != ["segue.impressions"]
    said = Recommendation(user_id="u", list="top", items=[], generation=1, created_at=1)
    assert Reader.of(dataset)({"top": said, "mix": said}).keys() == {"all"}


def test_the_product_sees_all_events_of_the_trial_and_none_after_its_end():
    dataset, made = trial(train_days=20.0)
    end = made.past.at_ms + 4 * DAY
    material = material_of(dataset, made, end, Settings())
    times = material.events["timestamp"]
    assert times.min() == made.past.train.timestamp[0]
    assert times.max() < end
    before = material.part("graph").height + material.part("learn").height
    assert before == len(made.past.train)
    assert material.part("test")["timestamp"].min() >= made.past.at_ms
    # What is no consumption is fed as a weak signal.
    weak = material.events.filter(pl.col("timestamp") < made.past.at_ms)["kind"] != "stream"
    assert weak.to_list() == (~made.past.train.strong).tolist()


def test_kinds_that_the_product_knows_are_fed_as_they_are():
    kinds = ["stream", "buy", "preview", "look", "dislike", "stream"]
    found = Interactions(
        user=np.zeros(6, np.int64), item=np.zeros(6, np.int64), timestamp=np.arange(6),
        strong=np.array([True, True, False, False, False, False]), kind=np.array(kinds),
    )  # fmt: skip
    disliking = load_settings(None, {}, ['events.actions=[{"kind":"dislike","sign":"negative"}]'])
    # The last one is a stream that this evaluation does not count as consumption.
    fed = ["stream", "stream", "preview", "follow", "dislike", "follow"]
    assert _kinds(found, disliking).tolist() == fed
    assert _kinds(replace(found, kind=None), disliking).tolist() == ["stream"] * 2 + ["follow"] * 4


def test_each_users_first_held_out_item_is_the_next_event():
    dataset, made = trial()
    test = dataset.events.where(dataset.events.timestamp >= made.past.at_ms)
    found = first_of(made.truth, test)
    assert found.users.tolist() == made.truth.users.tolist()
    for place, user in enumerate(made.truth.users.tolist()):
        held = set(made.truth.item[made.truth.indptr[place] : made.truth.indptr[place + 1]])
        own = test.where((test.user == user) & test.strong).item.tolist()
        assert found.item[place] == next(item for item in own if item in held)


def test_live_questions_are_those_of_the_replay_and_lie_in_the_test():
    dataset, made = trial()
    end = made.past.at_ms + 8 * DAY
    asked = _asked(dataset, PrequentialSettings(test_days=8.0, end_ms=end, asked=9))
    assert len(asked) == 9
    assert (asked.at_ms >= made.past.at_ms).all()


def test_arms_are_named_by_what_they_lack():
    assert [arm.name for arm in arms_of(["hgnn", "head", "hgnn:scalars", "sequence"])] == [
        "segue", "segue without hgnn", "segue without head", "segue with scalars",
        "segue without sequence",
    ]  # fmt: skip
    assert arms_of([]) == [Arm()]
    with pytest.raises(ValueError, match="of head, hgnn, hgnn:scalars, sequence; got towers"):
        arms_of(["towers"])


def test_arms_that_learn_alike_are_trained_once():
    arms = arms_of(["head", "hgnn", "sequence"], ["hourly"])
    assert [arm.trained.name for arm in arms] == [
        "segue", "segue", "segue without hgnn", "segue without sequence", "segue",
    ]  # fmt: skip
    dynamic = DynamicSettings(sequence=SequenceSettings(enabled=True))
    assert [_dynamic_of(dynamic, arm).sequence.enabled for arm in arms] == [True] * 3 + [
        False,
        True,
    ]
    assert _dynamic_of(dynamic, arms[0]) is dynamic


async def test_an_arm_without_a_sequence_tower_needs_one_to_leave_out():
    dataset, made = trial()
    with pytest.raises(ValueError, match="add --set dynamic"):
        await run_served(Settings(), dataset, made, 0, arms_of(["sequence"]), [1], None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--live"], "need --served"),
        (["--served", "--learn", "daily"], "--learn needs --live"),
        (["--served", "--live", "--learn", "yearly"], "got yearly"),
        (["--kafka"], "need --served"),
        (["--served", "--live", "--kafka", "--learn", "daily"], "--kafka takes no --learn"),
        (["--served", "--tune", "2"], "takes neither --tune nor --plot"),
        (["--served", "--protocol", "loo"], "expected --protocol time; got loo"),
        (["--served", "--without", "towers"], "got towers"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message, tmp_path: Path):
    events().write_parquet(tmp_path / "events.parquet")
    items().write_parquet(tmp_path / "items.parquet")
    done = CliRunner().invoke(
        app,
        ["evaluate", str(tmp_path / "events.parquet"), str(tmp_path / "items.parquet"), *options,
         "--set", f"data={tmp_path}"],
    )  # fmt: skip
    assert done.exit_code != 0
    assert message in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


class _Runtime:
    """A product that answers each request with one list, and notes what it knew by then."""

    def __init__(self, clock: Clock) -> None:
        self.settings, self.clock = Settings(), clock
        self.events: list[int] = []
        self.settled_with = 0
        self.asked: list[tuple[str, int, int, int]] = []  # user, time, events written, events known
        self.answers: list[Record] = []
        self.items: list[tuple[str, int]] = []  # id, time
        self.learned: list[tuple[int, int]] = []  # time, events known
        self.answering_at: int | None = None  # time at which a list is in the making

    async def write(self, topic, records, progress):
        if topic == self.settings.topics.catalogue:
            self.items += [(json.loads(value)["item_id"], self.clock()) for _, value in records]
            return
        assert topic == self.settings.topics.events
        self.events += [json.loads(value)["timestamp"] for _, value in records]

    async def settled(self):
        # A list that is made at one time and written at another would be told as skew.
        assert self.answering_at in (None, self.clock())
        self.settled_with, self.answering_at = len(self.events), self.clock()

    async def between_answers(self):
        self.answering_at = None

    async def learn_up_to_now(self):
        self.learned.append((self.clock(), self.settled_with))

    async def append(self, topic, key, value):
        user, offset = key.decode(), len(self.answers)
        self.asked.append((user, self.clock(), len(self.events), self.settled_with))
        answer = Recommendation(
            user_id=user, list="mix", generation=1, created_at=self.clock(), by_head=True,
            items=(RecommendedItem(item_type="pod", item_id="i7", score=1.0),),
            source=Source(topic=topic, partition=0, offset=offset),
        )  # fmt: skip
        self.answers.append(
            Record(topic="answers", partition=0, offset=offset, timestamp=self.clock(),
                      key=key, value=encode(answer))
        )  # fmt: skip

        async def place():
            return 0, offset, self.clock()

        return place

    async def ends(self, topic):
        return {0: len(self.answers)}

    async def read(self, topic, first):
        return self.answers[first[0] :]

    def check(self):
        pass


def test_learners_are_arms_besides_the_product():
    arms = arms_of([], ["frozen", "daily", "continual"])
    assert [arm.name for arm in arms] == ["segue", "segue daily", "segue continual"]
    with pytest.raises(ValueError, match=r"frozen, weekly, daily, hourly, .*; got yearly"):
        arms_of([], ["yearly"])


@pytest.mark.parametrize("examples", [1, 7, 1_000])
def test_continual_learning_waits_for_enough_events_or_an_hour(examples):
    rng, start = np.random.default_rng(1), 10 * DAY
    times = np.sort(start + rng.integers(0, DAY, 500))
    found = learning_times("continual", times, start, examples=examples)
    assert found == sorted(set(found))
    edges = np.array([start, *found])
    assert (np.diff(edges) <= HOUR_MS).all()
    assert edges[-1] > times[-1]  # the last events too
    counts = np.diff(np.searchsorted(times, edges))
    # As many events as asked for, unless the hour came first; more only at one moment.
    early = np.diff(edges) < HOUR_MS
    assert (counts[early] >= examples).all()
    assert (counts[~early] <= examples).all()


def test_other_learners_learn_at_fixed_intervals_from_the_split():
    times = np.array([10 * DAY + 1, 12 * DAY])
    for learner, every in (("hourly", HOUR_MS), ("daily", DAY), ("weekly", 7 * DAY)):
        found = learning_times(learner, times, 10 * DAY, examples=1)
        assert found == list(range(10 * DAY + every, 12 * DAY + 1, every))
    assert learning_times("frozen", times, 10 * DAY, examples=1) == []


def test_learners_with_changed_rows_learn_more_often_than_they_publish():
    times = np.sort(10 * DAY + np.random.default_rng(1).integers(0, DAY, 40_000))
    found = {
        learner: learning_times(learner, times, 10 * DAY, examples=1_000) for learner in LEARNERS
    }
    assert found["continual-rare"] == found["continual"]
    assert found["continual-rows"] == found["continual-rare-rows"]
    counts = np.diff(np.searchsorted(times, found["continual-rows"]))
    assert (abs(counts[:-1] - ROW_EVENTS) < 5).all()  # more than that come in an hour
    for learner, hours, rows in (
        ("daily", 0, False), ("continual", 0, False), ("continual-rows", 1, True),
        ("continual-rare", 10, False), ("continual-rare-rows", 10, True),
        ("continual-rare-rows-live", 10, True),
    ):  # fmt: skip
        assert follows_graph(learner) == learner.endswith("live")
        made = learning_settings(TrainerSettings(rows_every_steps=7), learner)
        assert made.publish_every_s == hours * 3_600
        assert bool(made.rows_every_steps) is rows


async def test_items_come_into_the_catalogue_when_they_are_published():
    """A list knows an item from its publication on, and the trainer learns before the question."""
    split = START + 30 * DAY
    new = pl.DataFrame(
        {"item_id": ["late", "later"], "item_type": "pod", "title": ["x", "y"],
         "published_at": [split + DAY, split + 2 * DAY]}
    )  # fmt: skip
    dataset = dataset_of(events(), pl.concat([items(), new], how="diagonal"))
    text = TextVectors(dataset.items, TextSettings(), silent)
    made = make_trial(dataset, TrialSettings(test_days=10.0, end_ms=START + DAYS * DAY), text)
    material = material_of(dataset, made, START + DAYS * DAY, Settings())
    assert made.past.at_ms == split
    assert "late" not in material.catalogue["item_id"].to_pylist()
    assert material.launches["item_id"].to_pylist() == ["late", "later"]
    settings = PrequentialSettings(test_days=10.0, end_ms=START + DAYS * DAY)
    asked, clock = _asked(dataset, settings), Clock(split)
    runtime, users = _Runtime(clock), [str(user) for user in dataset.users]
    learns = [split + DAY, split + 3 * DAY]
    await live_lists(
        runtime,
        clock,
        material,
        asked,
        users,
        Reader.of(dataset),
        ["mix"],
        lambda _: None,
        learns,
        runtime.learn_up_to_now,
    )
    assert [at for at, _ in runtime.items] == ["late", "later"]
    for (_, written), published in zip(runtime.items, new["published_at"], strict=True):
        assert published <= written <= asked.at_ms[asked.at_ms >= published][0]
    # By then the trainer knows all events before, and no list was asked for in between.
    assert [at for at, _ in runtime.learned] == learns
    times = material.part("test")["timestamp"].to_numpy()
    assert [known for _, known in runtime.learned] == [(times < at).sum() for at in learns]


async def test_a_live_list_knows_every_earlier_event_and_no_later_one():
    dataset, made = trial()
    end = made.past.at_ms + 8 * DAY
    material = material_of(dataset, made, end, Settings())
    settings = PrequentialSettings(test_days=8.0, end_ms=end, asked=20)
    asked, clock = _asked(dataset, settings), Clock(made.past.at_ms)
    runtime, users = _Runtime(clock), [str(user) for user in dataset.users]
    found = await live_lists(
        runtime, clock, material, asked, users, Reader.of(dataset), ["mix"], lambda _: None
    )
    test = material.part("test")["timestamp"].to_numpy()
    for user, now, written, known in runtime.asked:
        assert written == known == (test < now).sum()
        assert (users.index(user), now) in found.lists
    assert [now for _, now, _, _ in runtime.asked] == asked.at_ms.tolist()
    row = dataset.items["item_id"].to_list().index("i7")
    assert all(lists["all"].tolist() == [row] for lists in found.lists.values())
    assert found.by_head == 1.0
