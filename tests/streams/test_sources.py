"""Settings of sources: mistakes are refused with their place, before a record is read."""

import builtins
from typing import Any

import pytest

from streams import (
    AvroSettings,
    EmbeddedLog,
    EventRules,
    SourceError,
    SourceSettings,
    TimestampMapping,
    TopicDefinition,
    TopicSettings,
    ValueMapping,
    check_sources,
    create_topics,
    event_decoder,
    require_topics,
    topic_faults,
)

KINDS = EventRules().kinds
AVRO = AvroSettings(schemas="schemas")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: SourceSettings(topic=""), "topic"),
        (lambda: SourceSettings(topic="t", user_id=""), "user_id: expected names joined by dots"),
        (lambda: SourceSettings(topic="t", item_id="a..b"), "item_id: .*'a..b'"),
        (lambda: SourceSettings(topic="t", user_id="a", item_id="a.b"), "'a' is a field .*'a.b'"),
        (lambda: SourceSettings(topic="t", item_id="timestamp"), r"timestamp\.field"),
        (ValueMapping, "a field, a default, or both"),
        (lambda: ValueMapping(values={"a": "b"}, default="c"), "no field"),
        (lambda: ValueMapping(field=".a"), "joined by dots"),
        (lambda: TimestampMapping(field=""), "joined by dots"),
        (lambda: SourceSettings(topic="t", format="avro"), "folder of schemas, a registry"),
        (lambda: SourceSettings(topic="t", avro=AVRO), "format is 'json'"),
        (lambda: AvroSettings(registry="file:///etc"), "http or https"),
    ],
)
def test_what_could_only_make_dead_letters_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([SourceSettings(topic="a"), SourceSettings(topic="a")], r"sources\[1\]\.topic"),
        ([SourceSettings(topic="segue.events")], "Segue's own topics"),
        (
            [SourceSettings(topic="a", kind=ValueMapping(field="k", values={"play": "played"}))],
            r"sources\[0\]\.kind: 'play' gives 'played', .*follow, intent",
        ),
        ([SourceSettings(topic="a", kind=ValueMapping(default="x"))], "'default' gives 'x'"),
    ],
)
def test_sources_may_not_contradict_each_other_or_the_rest(sources, message):
    with pytest.raises(ValueError, match=message):
        check_sources(sources, KINDS, TopicSettings())


def test_topics_are_looked_at_before_they_are_read(tmp_path):
    sources = [
        SourceSettings(topic="fits"),
        SourceSettings(topic="wide"),
        SourceSettings(topic="wide.unkeyed", keyed_by_user=False),
        SourceSettings(topic="missing", keyed_by_user=False),
    ]
    log = EmbeddedLog(tmp_path)
    wide = [TopicDefinition(name=name, partitions=6) for name in ("wide", "wide.unkeyed")]
    create_topics(log, [TopicDefinition(name="fits", partitions=4), *wide])
    faults = topic_faults(log, sources, 4)
    assert set(faults) == {"wide", "missing"}
    assert "6 partitions and Segue's topics have 4" in faults["wide"]
    with pytest.raises(SourceError, match="source missing: the topic does not exist"):
        require_topics(log, sources, 4)
    require_topics(log, [sources[0], sources[2]], 4)
    log.close()


def test_avro_without_its_package_names_the_extra(monkeypatch):
    def without_fastavro(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "fastavro":
            raise ImportError(name)
        return real(name, *arguments, **options)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without_fastavro)
    with pytest.raises(SourceError, match=r"segue\[avro\]"):
        event_decoder(SourceSettings(topic="t", format="avro", avro=AVRO), EventRules())
