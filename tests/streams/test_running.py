"""The exit status of an app that fails while it starts."""

import asyncio

import pytest

from streams import KafkaSettings
from streams.app import create_app
from streams.running import serve
from streams.transport import Producer
from tests.waiting import within_patience


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("no client")])
async def test_a_start_that_fails_or_is_interrupted_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    async def on_start(_producer: Producer) -> None:
        raise error

    monkeypatch.setattr(Producer, "on_start", on_start)
    app = create_app("group", KafkaSettings(), batched={"events": 10})

    assert await within_patience(serve(app)) == 1
    assert isinstance(app.crash_reason, RuntimeError)
