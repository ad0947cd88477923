"""Earlier moments look like the test, and know nothing of the days that label them."""

import numpy as np

from evaluation.earlier_moments import MOST_WINDOWS, earlier_moments
from evaluation.split import DAY_MS
from evaluation.trial import TrialSettings, make_trial
from tests.evaluation.worlds import random_dataset, text_of


def test_windows_are_a_horizon_long_and_the_last_one_ends_at_the_split() -> None:
    dataset = random_dataset(0)
    past = make_trial(dataset, TrialSettings(test_days=4), text_of(dataset)).past
    lessons = earlier_moments(past, len(dataset.users), horizon_days=None, windows=2)
    assert len(lessons) == MOST_WINDOWS  # a small set: more windows are looked for
    ends = [lesson.split.at_ms + 4 * DAY_MS for lesson in lessons]
    assert ends == [past.at_ms - k * 4 * DAY_MS for k in range(len(lessons))][::-1]
    for lesson, end in zip(lessons, ends, strict=True):
        assert lesson.split.train.timestamp.max() < lesson.split.at_ms
        assert lesson.split.test.timestamp.min() >= lesson.split.at_ms
        assert lesson.split.test.timestamp.max() < end


def test_a_horizon_longer_than_a_third_of_the_past_is_cut() -> None:
    dataset = random_dataset(0)
    past = make_trial(dataset, TrialSettings(test_days=20), text_of(dataset)).past
    lessons = earlier_moments(past, len(dataset.users), horizon_days=None, windows=1)
    span = past.at_ms - int(past.train.timestamp[0])
    assert lessons
    assert lessons[-1].split.at_ms == past.at_ms - span // 3


def test_leave_one_out_teaches_by_the_last_streams_before() -> None:
    dataset = random_dataset(0)
    past = make_trial(dataset, TrialSettings(protocol="loo"), text_of(dataset)).past
    newest = earlier_moments(past, len(dataset.users), horizon_days=None, windows=1)[-1]
    train, test = newest.split.train, newest.split.test
    assert newest.asked_ms is not None
    assert len(np.unique(test.user)) == len(test)
    known = past.train.where(past.train.strong)
    for user, moment in zip(test.user, test.timestamp, strict=True):
        assert moment == known.timestamp[known.user == user].max()
        assert train.timestamp[train.user == user].max() + 1 == newest.asked_ms[user]


def test_a_past_of_one_moment_teaches_nothing() -> None:
    dataset = random_dataset(0)
    past = make_trial(dataset, TrialSettings(test_days=20), text_of(dataset)).past
    past.train.timestamp[:] = past.at_ms - 1
    assert earlier_moments(past, len(dataset.users), horizon_days=None, windows=2) == []
