"""Compiles the kernels of the transport before they are needed, so that no batch waits for it."""

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.canonical import decode_columns
from streams.codec import encode
from streams.event_batch import EventRules
from streams.record_batches import batch_columns
from streams.records import Event

__all__ = ["compile_record_kernels"]


def compile_record_kernels() -> None:
    """Read one batch of one event.

    Compiled code is cached beside the source (numba's cache): some seconds the first time after an
    installation, a tenth of a second from then on.
    """
    rules = EventRules()
    event = Event(user_id="u", item_id="i", item_type="t", kind=rules.kinds[0], timestamp=1)
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1_000)
    builder.append(0, event.timestamp, event.key, encode(event), [])
    events, _ = decode_columns(batch_columns("events", 0, memoryview(builder.build())), rules)
    list(events.user_id)  # what makes strings of texts is compiled too
