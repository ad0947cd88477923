"""Strata of questions: the age of the answer, launches of the day, bursts."""

import numpy as np
import polars as pl
import pytest

from evaluation import dataset_of
from evaluation.prequential.strata import BURST_EVENTS, STRATA, strata
from evaluation.prequential.stream import Questions

HOUR, DAY = 3_600_000, 86_400_000
NOON = 20_000 * DAY + 12 * HOUR


def dataset(times: dict[str, list[int]], published: dict[str, int | None] | None = None):
    """Events of one user on items at times, and a catalogue that may say when they came out."""
    pairs = sorted((at, item) for item, own in times.items() for at in own)
    events = pl.DataFrame(
        {"user_id": "u", "item_id": [item for _, item in pairs], "item_type": "pod",
         "timestamp": [at for at, _ in pairs]}
    )  # fmt: skip
    items = pl.DataFrame({"item_id": sorted(times), "item_type": "pod"})
    if published is not None:
        known = [published.get(item) for item in sorted(times)]
        items = items.with_columns(pl.Series("published_at", known, pl.Int64))
    return dataset_of(events, items)


def ask(data, *answers: tuple[int, str | list[str]]) -> dict[str, list[bool]]:
    row = {item: row for row, item in enumerate(data.items["item_id"].to_list())}
    items = [[row[name] for name in ([of] if isinstance(of, str) else of)] for _, of in answers]
    asked = Questions(
        user=np.zeros(len(answers), np.int64),
        at_ms=np.array([at for at, _ in answers]),
        indptr=np.cumsum([0, *map(len, items)]),
        item=np.array([row for own in items for row in own]),
    )
    return {name: chosen.tolist() for name, chosen in strata(data, asked).items()}


def test_a_question_has_the_age_of_its_answer():
    ages = [0, HOUR - 1, HOUR, DAY - 1, DAY, 7 * DAY - 1, 7 * DAY, 100 * DAY]
    names = [f"i{place}" for place in range(len(ages))]
    data = dataset({name: [NOON] for name in names},
                   {name: NOON - age for name, age in zip(names, ages, strict=True)})  # fmt: skip
    found = ask(data, *((NOON, name) for name in names))
    assert tuple(found) == STRATA
    of = [[place for place, here in enumerate(found[name]) if here] for name in STRATA[:4]]
    assert of == [[0, 1], [2, 3], [4, 5], [6, 7]]
    # Noon: 12 hours ago is still today, a day less a millisecond is not.
    assert found["launched_that_day"] == [True] * 3 + [False] * 5


def test_an_item_without_a_time_of_publication_came_with_its_first_event():
    times = {"a": [NOON - 3 * HOUR, NOON], "b": [NOON - 9 * DAY, NOON]}
    for published in (None, {}, {"a": NOON + DAY, "b": None}):  # not after its first event
        found = ask(dataset(times, published), (NOON, "a"), (NOON, "b"))
        assert found["age_1d"] == [True, False]
        assert found["age_older"] == [False, True]


def test_of_several_answers_the_newest_counts():
    data = dataset({"a": [NOON - 9 * DAY], "b": [NOON - 2 * HOUR]})
    assert ask(data, (NOON, ["a", "b"]))["age_1d"] == [True]


@pytest.mark.parametrize(
    ("recent", "earlier", "age", "expected"),
    [
        (BURST_EVENTS, 0, 9 * HOUR, True),
        (BURST_EVENTS - 1, 0, 9 * HOUR, False),
        (12, 24, 30 * HOUR, True),  # one an hour before
        (12, 4 * 24, 30 * HOUR, False),  # four an hour: three times is not more than three times
        (13, 4 * 24, 30 * HOUR, True),
        (9, 24, 7 * HOUR, False),  # 24 in six hours of life are four an hour
        (9, 0, HOUR + 1, False),  # too young to tell
    ],
)
def test_a_burst_is_many_times_what_the_hours_before_had(recent, earlier, age, expected):
    own = [NOON - 1 - place for place in range(recent)]
    first = max(NOON - age, NOON - HOUR - DAY + 1)
    own += [first + place for place in range(earlier)]
    # Another item's events, later ones, and those of the day before do not count.
    data = dataset(
        {"a": [*own, NOON, NOON + 1, NOON - HOUR - DAY - 5], "b": [NOON - 2] * 50},
        {"a": NOON - age, "b": NOON - age} if age > DAY + HOUR else None,
    )
    if age <= DAY + HOUR:
        data = dataset({"a": [*own, NOON, NOON + 1], "b": [NOON - 2] * 50}, {"a": NOON - age})
    assert ask(data, (NOON, "a"))["burst"] == [expected]
