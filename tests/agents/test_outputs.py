"""Records that are written over a producer of their own: sent, awaited, and the producer ended."""

import pytest

from agents.outputs import ProducerOutputs
from streams import KafkaSettings


class Producer:
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        self.done: list[object] = []

    async def send(self, topic, *, value, key, headers):
        self.done.append((topic, key, value, headers))

    async def flush(self):
        self.done.append("flushed")

    async def stop(self):
        self.done.append("stopped")


async def test_outputs_hand_on_to_a_producer_and_end_it():
    outputs, producer = ProducerOutputs(KafkaSettings()), Producer()
    await outputs.flush()
    await outputs.__aexit__()  # as where no broker answered
    with pytest.raises(RuntimeError, match="async with"):
        await outputs.send("t", b"k", b"v")
    outputs._producer = producer
    await outputs.send_many("t", [(b"k", b"v", None), (None, None, [("h", b"1")])])
    await outputs.flush()
    await outputs.__aexit__()
    sent = [("t", b"k", b"v", None), ("t", None, None, [("h", b"1")])]
    assert producer.done == [*sent, "flushed", "stopped"]
