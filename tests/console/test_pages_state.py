"""What the pages show of a log that answers late, without a browser."""

import asyncio

import pytest

from console.pages import Pages
from streams import Record
from tests.console.worlds import NOW, Served
from tests.waiting import until


async def test_a_log_that_takes_its_time_counts_as_silent(
    running: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client tries for half a minute; whoever looks at the page wants to know before."""
    monkeypatch.setattr("console.pages.PATIENCE_S", 0.0)
    answers = asyncio.Event()

    async def lags() -> dict[int, int]:
        await answers.wait()
        return {0: 3}

    pages = Pages(running.app.state.replica, lambda: NOW, letters=1, people=1, lags=lags)
    asking = asyncio.ensure_future(pages._ask_for_lags())
    await until(lambda: not pages.log_answers, "the log to count as silent")
    answers.set()
    await until(lambda: pages.log_answers, "the log to answer")
    assert pages.recent.lags == {0: 3}
    asking.cancel()


async def test_a_deleted_record_with_a_key_of_others_on_the_models_topic_stops_nothing(
    running: Served,
) -> None:
    pages = Pages(running.app.state.replica, lambda: NOW, letters=1, people=1, lags=None)
    await pages.models_came(
        [
            Record(topic="t", partition=0, offset=n, timestamp=NOW, key=key, value=None)
            for n, key in enumerate((b"\xff\xfe", b"dynamic", None))
        ]
    )
    assert pages.announced == {}
