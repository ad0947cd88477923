"""Days without faults: what processes hold does not grow, and the check notices what does."""

import logging

import pytest

from agents.answers import Answers
from tests.simulated.days import Size, growth, run_days


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL)


def test_nothing_grows_in_hours_without_faults():
    assert growth(list(run_days(1, 9)), resident=False) == []


def test_what_is_kept_of_each_answer_is_noticed(monkeypatch):
    kept, really = [], Answers.write

    async def write(self, batch, *, fewer=1):
        kept.extend([user, {}] for user in batch.users)
        return await really(self, batch, fewer=fewer)

    monkeypatch.setattr(Answers, "write", write)
    [said] = growth(list(run_days(2, 6)), resident=False)
    assert said.startswith("containers: ")


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({}, []),
        ({"disk": 3_000_000}, ["disk: 666,667 bytes an hour, 100,000 allowed"]),
        ({"resident": 8_000_000}, ["resident: 2,333,333 bytes an hour, 1,000,000 allowed"]),
        ({"series": 11}, ["series: 11, before 10"]),
    ],
)
def test_growth_is_said_with_its_limit(last, said):
    usual = {"containers": 1_000_000, "resident": 1_000_000, "series": 10, "disk": 1_000_000}
    assert growth([*[Size(**usual)] * 6, *[Size(**usual | last)] * 3], resident=True) == said
