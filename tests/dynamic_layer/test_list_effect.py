"""What two ways of making lists show, compared question by question."""

import numpy as np
import pytest

from dynamic_layer import answer_of, effect_of


def answers(rows, targets, vectors):
    """Answers of lists of item numbers; keys are numbers."""
    return [
        answer_of(np.array(own, np.uint64), vectors[own], np.uint64(target))
        for own, target in zip(rows, targets, strict=True)
    ]


def test_figures_are_those_of_their_definitions():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = [rng.permutation(40)[:12].tolist() for _ in range(30)]
    others = [rng.permutation(20)[:12].tolist() for _ in range(30)]
    targets = rng.integers(0, 40, 30).tolist()
    found = effect_of(answers(lists, targets, vectors), answers(others, targets, vectors), 40)
    for side, made in (("before", lists), ("after", others)):
        tens = [own[:10] for own in made]
        hits = [target in own for target, own in zip(targets, tens, strict=True)]
        assert getattr(found.hr_at_10, side) == pytest.approx(np.mean(hits))
        assert getattr(found.coverage, side) == len({item for own in tens for item in own}) / 40
        pairs = [
            1 - vectors[a] @ vectors[b] for own in tens for a in own for b in own if a != b
        ]  # fmt: skip
        assert getattr(found.diversity, side) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert found.questions == 30
    assert found.coverage.high < 0  # half of the items
    assert found.hr_at_10.low < found.hr_at_10.after - found.hr_at_10.before < found.hr_at_10.high


def test_intervals_of_a_mean_hold_what_they_promise():
    """A change of .1 in HR lies in 95 of 100 intervals, up to chance."""
    rng, held, vectors = np.random.default_rng(1), 0, np.eye(4, dtype=np.float32)
    for _ in range(300):
        before = np.where(rng.random(200) < 0.2, 0, 1)
        after = np.where(rng.random(200) < 0.3, 0, 1)
        targets = [0] * 200
        sides = [
            answers([[int(one)] for one in side], targets, vectors) for side in (before, after)
        ]
        change = effect_of(*sides, 4).hr_at_10
        held += change.low <= 0.1 <= change.high
    assert 270 <= held <= 297


def test_one_question_has_no_interval_and_no_question_no_effect():
    [one] = answers([[1]], [1], np.eye(3, dtype=np.float32))
    found = effect_of([one], [one], 3)
    assert (found.hr_at_10.before, found.hr_at_10.low, found.diversity) == (1.0, None, None)
    assert effect_of([], [], 3) is None
