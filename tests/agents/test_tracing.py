"""Traces from event to recommendation: four spans below the producer's, and the header goes on."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from agents.outputs import NoOutputs
from agents.working.tracing import Traces, TraceSettings
from dynamic_layer import ItemNames, Ranking
from segue.roles import make_traces
from tests.agents.worlds import TOPICS, answer_by, bench

pytest.importorskip("opentelemetry.sdk", reason="needs the otel extra")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = [("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("tracestate", b"shop=7")]


class OneList:
    """A model that makes the same list for everybody."""

    recommender = object()

    async def recommend(self, users, lists, now_ms, *, fewer):
        ranking = Ranking(
            names=ItemNames(ids=["a"], types=["podcast"]), rows=[0], scores=np.ones(1)
        )
        return 1, [{"mix": ranking} for _ in users]


class Kept(NoOutputs):
    """Outputs that keep the headers of lists by user."""

    def __init__(self) -> None:
        self.headers: dict[bytes | None, object] = {}

    async def send_many(self, topic, records):
        if topic == TOPICS.recommendations:
            self.headers |= {key: headers for key, _, headers in records}


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), exporter


def with_headers(record, headers):
    return SimpleNamespace(**record._asdict(), headers=headers)


async def answered(b, traces, headers_of) -> dict[bytes | None, object]:
    """Have a worker take the log, with headers by user, and answer; returns the lists' headers."""
    worker, outputs = b.worker, Kept()
    answer_by(worker, OneList())
    worker._answers._outputs = outputs
    worker._answers._traces = worker._ingest._traces = traces
    await worker.assigned(b.keyed)
    for number in range(TOPICS.partitions):
        records = b.log.read(TOPICS.events, number, 0, 100)
        if records:
            await worker.handle([with_headers(r, headers_of(r.key)) for r in records])
    await worker.tick()
    return outputs.headers


async def test_the_spans_of_a_traced_event_lie_below_its_producers(tmp_path, spans):
    tracer, exporter = spans
    with bench(tmp_path) as b:
        b.listen("ann", "a")
        b.listen("ben", "a")
        sent = await answered(
            b, Traces(tracer), lambda key: HEADERS if key == b"ann" else [("else", b"x")]
        )
    found = {span.name: span for span in exporter.get_finished_spans()}
    names = ["segue.ingest", "segue.state", "segue.recommend", "segue.produce"]
    assert sorted(found) == sorted(names)
    assert len(exporter.get_finished_spans()) == 4, "ben's event carries no trace"
    ingest, state, recommend, produce = (found[name] for name in names)
    for span in found.values():
        assert f"{span.context.trace_id:032x}" == TRACE
        assert span.start_time <= span.end_time
    assert f"{ingest.parent.span_id:016x}" == PARENT
    assert state.parent.span_id == ingest.context.span_id
    assert recommend.parent.span_id == ingest.context.span_id
    assert produce.parent.span_id == recommend.context.span_id
    assert ingest.attributes["messaging.destination.name"] == TOPICS.events
    assert ingest.attributes["messaging.kafka.offset"] == 0
    carried = dict(sent[b"ann"])
    assert carried["traceparent"].decode() == f"00-{TRACE}-{produce.context.span_id:016x}-01"
    assert carried["tracestate"] == b"shop=7"
    assert sent[b"ben"] is None


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"00-zz-yy-01", b"00-" + b"0" * 32 + b"-1-01"])
async def test_a_header_that_is_no_trace_context_makes_no_span(tmp_path, spans, value):
    tracer, exporter = spans
    with bench(tmp_path) as b:
        b.listen("ann", "a")
        sent = await answered(b, Traces(tracer), lambda _: [("traceparent", value)])
    assert exporter.get_finished_spans() == ()
    assert sent == {b"ann": None}


async def test_off_by_default_headers_are_not_looked_at(tmp_path):
    with bench(tmp_path) as b:
        b.listen("ann", "a")
        assert await answered(b, None, lambda _: HEADERS) == {b"ann": None}
    assert make_traces(TraceSettings(), "segue-worker") is None


async def test_users_that_wait_are_bounded_and_an_erased_one_is_forgotten(spans):
    traces = Traces(spans[0], users=2)
    for user in ("ann", "ben", "cem"):
        record = SimpleNamespace(
            topic="t", partition=0, offset=1, key=user.encode(), value=b"", headers=HEADERS
        )
        with traces.ingesting([record]) as applied:
            applied()
    traces.withdraw("cem")
    with traces.answering(["ann", "ben", "cem"]) as headers:
        assert list(headers) == ["ben"]


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(ValueError, match=r"pip install segue\[otel\]"):
        make_traces(TraceSettings(endpoint="http://127.0.0.1:1/v1/traces"), "segue-worker")
