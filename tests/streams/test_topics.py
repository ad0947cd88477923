import pytest

from streams import (
    EmbeddedLog,
    TopicSettings,
    create_topics,
    delete_topics,
    describe_topics,
    end_offsets,
    topics,
)
from streams.topics import DAY_MS


def by_name(settings: TopicSettings):
    return {definition.name: definition for definition in topics(settings)}


def test_every_topic_has_a_definition_and_a_name():
    settings = TopicSettings(prefix="x")
    assert by_name(settings).keys() == {
        settings.events,
        settings.impressions,
        settings.catalogue,
        settings.users,
        settings.examples,
        settings.demand,
        settings.models,
        settings.rows,
        settings.recommendations,
        settings.requests,
        settings.dead_letters,
        settings.erasures,
        settings.policies,
        settings.receipts,
    }
    assert settings.dead_letters == "x.dead-letters"


def test_what_is_keyed_alike_has_the_same_partitions():
    settings = TopicSettings(partitions=7)
    found = by_name(settings)
    same = (
        settings.events,
        settings.impressions,
        settings.catalogue,
        settings.users,
        settings.requests,
    )
    assert {found[name].partitions for name in same} == {7}
    assert found[settings.models].partitions == 1


def test_only_topics_of_latest_values_are_compacted():
    settings = TopicSettings()
    compacted = {d.name for d in topics(settings) if d.cleanup_policy == "compact"}
    latest = {settings.catalogue, settings.users, settings.demand, settings.models}
    latest |= {settings.rows, settings.erasures, settings.policies}
    assert compacted == latest


def test_attributes_that_were_deleted_are_compacted_away_even_on_a_quiet_topic():
    settings = TopicSettings(users_days=3)
    assert by_name(settings)[settings.users].settings["max.compaction.lag.ms"] == str(3 * DAY_MS)


@pytest.mark.parametrize(("replication", "needed"), [(1, None), (2, None), (3, "2"), (5, "4")])
def test_a_written_record_is_on_all_copies_but_one(replication, needed):
    for topic in topics(TopicSettings(replication=replication)):
        assert topic.settings.get("min.insync.replicas") == needed


def test_events_outlive_the_window_and_keep_the_time_of_the_log():
    settings = TopicSettings()
    events = by_name(settings)[settings.events]
    assert events.retention_ms > 90 * DAY_MS
    assert events.settings["message.timestamp.type"] == "LogAppendTime"
    assert int(events.settings["max.message.bytes"]) > 5_000_000


@pytest.mark.parametrize("name", ["partitions", "replication"])
def test_impossible_settings_are_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        TopicSettings(**{name: 0})


def test_the_embedded_log_is_administered_as_kafka_is(tmp_path):
    settings = TopicSettings(partitions=2)
    with EmbeddedLog(tmp_path) as log:
        names = tuple(by_name(settings))
        assert create_topics(log, topics(settings)).created == names
        again = create_topics(log, topics(settings))
        assert (again.created, again.unchanged, again.differing) == ((), names, {})
        assert describe_topics(log, names) == by_name(settings)

        other = create_topics(log, topics(TopicSettings(partitions=3, requests_days=2)))
        assert other.unchanged == (
            settings.models, settings.rows, settings.erasures, settings.policies
        )  # fmt: skip
        requests = other.differing[settings.requests]
        assert (requests["partitions"].wanted, requests["partitions"].found) == ("3", "2")
        assert requests["retention.ms"].wanted == str(2 * DAY_MS)
        assert log.partitions(settings.requests) == 2

        log.append(settings.models, b"static", b"{}")
        assert end_offsets(log, [settings.models]) == {settings.models: {0: 1}}
        delete_topics(log, [settings.models, "never existed"])
        assert settings.models not in log.topics()
