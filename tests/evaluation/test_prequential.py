"""The prequential protocol: nothing comes from the future, and everything from the past."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation import Dataset, Interactions
from evaluation.prequential import ARMS, PrequentialSettings, UnknownArm, run
from evaluation.prequential import experiment as experiment_module
from evaluation.prequential.stream import questions, span, steps
from static_layer.progress import silent
from tests.evaluation.worlds import DAY, random_dataset

SETTINGS = PrequentialSettings(test_days=6, end_ms=40 * DAY)
FEW = (
    "popularity_1d", "popularity_all_time", "item_cf_hour", "item_cf_decayed_1d", "bigrams",
    "bigrams_hour",
)  # fmt: skip


class Recorded:
    """Keeps every list that an arm gives, by (arm, user, moment)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lists: dict[tuple[str, int, int], np.ndarray] = {}
        kept, original = self.lists, experiment_module.replay

        class Watched:
            def __init__(self, name, arm):
                self.name, self.arm = name, arm

            def answer(self, step):
                answers, asked = self.arm.answer(step), step.questions
                for user, at, row in zip(asked.user, asked.at_ms, answers[0]["all"], strict=True):
                    kept[self.name, int(user), int(at)] = row
                return answers

        def watched(arms, *rest, **more):
            return original({n: Watched(n, arm) for n, arm in arms.items()}, *rest, **more)

        monkeypatch.setattr(experiment_module, "replay", watched)


def go(dataset: Dataset, settings: PrequentialSettings = SETTINGS, names=FEW, pairs=()):
    return run(dataset, settings, names, progress=silent, pairs=pairs)


def with_events(dataset: Dataset, events: Interactions) -> Dataset:
    order = np.argsort(events.timestamp, kind="stable")
    return replace(dataset, events=events.where(order))


@pytest.mark.parametrize("ask", ["next", "basket"])
def test_another_future_changes_no_earlier_list(monkeypatch, ask):
    dataset = random_dataset(3, users=30, items=40, events=1_500)
    settings = replace(SETTINGS, ask=ask)
    events = dataset.events
    turn = 37 * DAY + DAY // 3  # inside a day
    later = events.timestamp >= turn
    rng = np.random.default_rng(0)
    other = Interactions(
        user=np.where(later, rng.permutation(events.user), events.user),
        item=np.where(later, rng.integers(0, len(dataset.items), len(events)), events.item),
        timestamp=events.timestamp,
        strong=np.where(later, rng.random(len(events)) < 0.5, events.strong),
    )
    first = Recorded(monkeypatch).lists
    go(dataset, settings)
    monkeypatch.undo()
    second = Recorded(monkeypatch).lists
    go(with_events(dataset, other), settings)
    early = {key for key in first.keys() & second.keys() if key[2] < turn}
    for key in early:
        np.testing.assert_array_equal(first[key], second[key], err_msg=str(key))
    # Whether a basket is asked for on the day of the turn is for its later events to say.
    whole = turn // DAY * DAY if ask == "basket" else turn
    assert {key for key in first if key[2] < whole} <= early
    assert len(early) > 100
    changed = [k for k in first.keys() & second.keys() if k[2] > turn + DAY]
    assert any((first[key] != second[key]).any() for key in changed)


def test_which_item_everybody_is_about_to_take_up_is_in_no_list_of_that_moment(monkeypatch):
    """Planted: everybody's event at one moment, on either of two items without a past."""
    dataset = random_dataset(4, users=40, items=60, events=1_200)
    moment, twins = 36 * DAY + 5, (7, 8)
    kept = dataset.events.where(~np.isin(dataset.events.item, twins))
    everyone = np.arange(len(dataset.users))
    found = []
    for planted in twins:
        joined = Interactions(
            user=np.concatenate([kept.user, everyone]),
            item=np.concatenate([kept.item, np.full(len(everyone), planted)]),
            timestamp=np.concatenate([kept.timestamp, np.full(len(everyone), moment)]),
            strong=np.concatenate([kept.strong, np.ones(len(everyone), bool)]),
        )
        found.append(Recorded(monkeypatch).lists)
        go(with_events(dataset, joined))
        monkeypatch.undo()
    one, other = found
    assert one.keys() == other.keys()
    assert sum(key[2] == moment for key in one) == len(FEW) * len(everyone)
    for key, row in one.items():
        if key[2] <= moment:
            np.testing.assert_array_equal(row, other[key], err_msg=str(key))
    # An hour later the planted item is known to whoever looks, and leaves everybody's lists.
    later = [key for key in one if key[2] > moment]
    assert later
    assert all(twins[0] not in one[key] and twins[1] not in other[key] for key in later)


def test_live_popularity_counts_what_was_before_and_nothing_else(monkeypatch):
    """Against a slow restatement, on every question."""
    dataset = random_dataset(5, users=25, items=30, events=900)
    lists = Recorded(monkeypatch).lists
    go(dataset, names=("popularity_1d",))
    events = dataset.events
    for (_, user, at), row in lists.items():
        before = events.timestamp < at
        age = (at - events.timestamp[before]) / DAY
        demand = np.bincount(events.item[before], weights=0.5**age, minlength=30)
        mine = events.item[before & events.strong & (events.user == user)]
        assert not np.isin(row, mine).any()
        left = np.setdiff1d(np.arange(len(dataset.items)), mine)
        shown = row[row >= 0]
        assert len(shown) == len(left)
        np.testing.assert_allclose(demand[shown], np.sort(demand[left])[::-1], rtol=1e-4)


def test_questions_are_new_items_of_a_user_and_baskets_their_days():
    dataset = random_dataset(6)
    at, end = span(dataset.events, SETTINGS)
    asked = questions(dataset, SETTINGS, at, end)
    baskets = questions(dataset, replace(SETTINGS, ask="basket"), at, end)
    strong = dataset.events.where(dataset.events.strong)
    expected, by_day = set(), {}
    for user, item, time in zip(strong.user, strong.item, strong.timestamp, strict=True):
        had = (strong.user == user) & (strong.item == item) & (strong.timestamp < time)
        if at <= time < end and not had.any():
            expected.add((user, item, time))
            by_day.setdefault((user, time // DAY * DAY), set()).add(item)
    assert set(zip(asked.user, asked.item, asked.at_ms, strict=True)) == expected
    found = {
        (int(baskets.user[q]), int(baskets.at_ms[q])): {
            *baskets.item[baskets.indptr[q] : baskets.indptr[q + 1]].tolist()
        }
        for q in range(len(baskets))
    }
    assert found == by_day


def test_repeats_ask_for_every_strong_event():
    dataset = random_dataset(6)
    at, end = span(dataset.events, SETTINGS)
    asked = questions(dataset, replace(SETTINGS, repeats=True), at, end)
    inside = (dataset.events.timestamp >= at) & (dataset.events.timestamp < end)
    assert len(asked) == (inside & dataset.events.strong).sum()
    found = go(dataset, replace(SETTINGS, repeats=True), names=FEW[:1] + FEW[-1:])
    assert found.facts["questions"] == len(asked)


def test_steps_hold_every_question_once_and_no_later_event():
    dataset = random_dataset(7)
    asked = questions(dataset, SETTINGS, *span(dataset.events, SETTINGS))
    seen = []
    for step in steps(dataset, asked):
        assert step.index.time.max() < step.end_ms
        assert (step.questions.at_ms >= step.end_ms - DAY).all()
        assert (step.questions.at_ms < step.end_ms).all()
        seen += step.questions.at_ms.tolist()
    assert seen == asked.at_ms.tolist()


def test_a_sample_of_questions_is_the_same_by_its_seed():
    dataset = random_dataset(8)
    when = span(dataset.events, SETTINGS)
    some = [
        {*zip(found.user.tolist(), found.at_ms.tolist(), found.item.tolist(), strict=True)}
        for seed in (1, 1, 2)
        for found in [questions(dataset, replace(SETTINGS, asked=20, seed=seed), *when)]
    ]
    assert [len(part) for part in some] == [20, 20, 20]
    assert some[0] == some[1]
    assert some[0] != some[2]


def test_questions_can_come_together_at_whole_moments():
    """Each is asked at the start of its stretch, and a sample has whole stretches."""
    dataset = random_dataset(7)
    at, end = span(dataset.events, SETTINGS)
    exact = questions(dataset, SETTINGS, at, end)
    every = replace(SETTINGS, every_s=6 * 3_600.0)
    together = questions(dataset, every, at, end)
    assert len(together) == len(exact)
    assert len(np.unique(together.at_ms)) < len(np.unique(exact.at_ms))
    for made in (together, exact):  # the same pairs are asked for
        pairs = {*zip(made.user.tolist(), made.item.tolist(), strict=True)}
        assert pairs == {*zip(exact.user.tolist(), exact.item.tolist(), strict=True)}
    inside = (together.at_ms % (6 * 3_600_000) == 0) | (together.at_ms == at)
    assert inside.all()  # the test's first stretch may begin with the test
    some = questions(dataset, replace(every, asked=10), at, end)
    assert len(some) >= 10
    moments = np.unique(some.at_ms)
    assert len(moments) < len(np.unique(together.at_ms))
    assert len(some) == np.isin(together.at_ms, moments).sum()


def test_rows_days_and_gains_say_the_same():
    dataset = random_dataset(9)
    pair = ("item_cf_hour", "popularity_1d")
    found = go(dataset, names=("popularity_1d", "bigrams", "item_cf_hour"), pairs=[pair])
    overall = {
        row.model: row for row in found.rows if (row.item_type, row.segment) == ("all", "all")
    }
    assert {row.item_type for row in found.rows} == {"all", "book", "pod"}
    for name, row in overall.items():
        mine = [day for day in found.days if day.model == name]
        assert sum(day.asked for day in mine) == row.asked == found.facts["questions"]
        hits = sum(day.asked * day.hr_at_10 for day in mine)
        assert hits / row.asked == pytest.approx(row.hr_at_10)
        assert row.hr_at_10_ci[0] <= row.hr_at_10 <= row.hr_at_10_ci[1]
        assert len(row.hr_at_10_seeds) == 1
    for gain in found.gains:
        if (gain.item_type, gain.segment) == ("all", "all"):
            ratio = overall[gain.model].hr_at_10 / overall[gain.over].hr_at_10
            assert gain.gain == pytest.approx(ratio - 1)
            assert gain.gain_ci[0] <= gain.gain <= gain.gain_ci[1]
    assert {(gain.model, gain.over) for gain in found.gains} == {pair}


def test_strata_have_rows_and_gains_of_their_own_questions():
    names = ("popularity_1d", "item_cf_hour")
    found = go(random_dataset(9), names=names, pairs=[names[::-1]])
    strata, questions = found.facts["strata"], found.facts["questions"]
    assert sum(asked for name, asked in strata.items() if name.startswith("age_")) == questions
    rows = {(row.model, row.segment): row for row in found.rows if row.item_type == "all"}
    for model in names:
        ages = [rows[model, name] for name in strata if name.startswith("age_")]
        assert [row.asked for row in ages] == [n for name, n in strata.items() if "age_" in name]
        hits = sum(row.asked * row.hr_at_10 for row in ages)
        assert hits / questions == pytest.approx(rows[model, "all"].hr_at_10)
    for gain in found.gains:
        if gain.segment in strata:
            ours, theirs = rows[gain.model, gain.segment], rows[gain.over, gain.segment]
            assert gain.gain == pytest.approx(ours.hr_at_10 / theirs.hr_at_10 - 1)
    assert {gain.segment for gain in found.gains} <= {"all", *strata}
    assert any(gain.segment != "all" for gain in found.gains)


def test_what_cannot_be_replayed_is_refused():
    dataset = random_dataset(10)
    with pytest.raises(UnknownArm, match="popularity_1d"):
        go(dataset, names=("nothing",))
    with pytest.raises(ValueError, match="before the 40 days"):
        go(dataset, replace(SETTINGS, test_days=40))
    with pytest.raises(ValueError, match="asked in the test"):
        go(dataset, replace(SETTINGS, end_ms=400 * DAY))
    for wrong in ({"ask": "all"}, {"asked": -1}, {"test_days": 0}):
        with pytest.raises(ValueError, match="expected"):
            PrequentialSettings(**wrong)
    assert len(set(ARMS)) == len(ARMS)
