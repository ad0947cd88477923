"""Settings: defaults, file, environment, flags, in this order; mistakes are named."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.settings import Settings, SettingsError, load_settings, write_settings
from streams import KafkaSettings


def test_later_sources_win(tmp_path):
    file = tmp_path / "segue.toml"
    file.write_text(
        "[worker]\nbatch = 1\nlist_length = 1\nthreads = 1\n[state.window]\nbuckets = 9\n"
    )
    found = load_settings(
        file,
        {"SEGUE_WORKER__LIST_LENGTH": "2", "SEGUE_WORKER__THREADS": "2", "PATH": "/bin"},
        ["worker.threads=3"],
    )
    assert (found.worker.batch, found.worker.list_length, found.worker.threads) == (1, 2, 3)
    assert found.state.window.buckets == 9


def test_kafka_may_be_named_as_other_tools_name_it():
    found = load_settings(None, {"KAFKA_BOOTSTRAP_SERVERS": "k1:9092,k2:9092"})
    assert found.kafka.servers == ["k1:9092", "k2:9092"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("worker.bach=7", "'bach' is not one of"),
        ("worker=7", "group of settings"),
        ("worker.batch=many", "batch"),
        ("worker.batch", "expected path=value"),
        ("state.window.buckets=1000", "1 to 128 buckets"),
        ("kafka.bootstrap_servers=nowhere", "host:port"),
        ('sources=[{"topik": "t"}]', r"no setting 'sources\[0\].topik'"),
        ('sources=[{"topic": "t", "kind": {"file": "x"}}]', r"'sources\[0\].kind.file'"),
        ('sources=[{"topic": "t"}, {}]', r"`topic` - at `\$.sources\[1\]`"),
        ('sources=[{"topic": "t", "user_id": "a..b"}]', r"user_id: .* at `\$.sources\[0\]`"),
        ('sources=[{"topic": "t", "timestamp": {"unit": "days"}}]', r"sources\[0\].timestamp.unit"),
        ('sources=[{"topic": "t", "kind": {"default": "x"}}]', r"sources\[0\].kind: 'default'"),
        ('sources=[{"topic": "segue.events"}]', "Segue's own topics"),
        ('worker.lists=[{"nam": "mix"}]', r"no setting 'worker.lists\[0\].nam'"),
    ],
)
def test_mistakes_are_named(flag, message):
    with pytest.raises(SettingsError, match=message):
        load_settings(None, {}, [flag])


def test_lists_are_written_with_commas_or_as_json():
    found = load_settings(
        None,
        {},
        [
            "events.kinds=stream,play",
            'worker.lists=[{"name": "again", "item_types": ["food"], "repeats": "only"}]',
        ],
    )
    assert found.events.kinds == ("stream", "play")
    assert found.worker.lists[0].name == "again"
    assert found.worker.lists[0].repeats == "only"


def test_what_is_written_is_read_again(tmp_path):
    settings = load_settings(
        None,
        {},
        [
            "events.kinds=stream",
            "state.window.buckets=30",
            'kafka.client_id=a "quoted" name',
            'worker.lists=[{"name": "mix", "k": 3}]',
            'sources=[{"topic": "a", "kind": {"field": "k", "values": {"a b": "stream"}}}]',
        ],
    )
    settings = replace(
        settings,
        kafka=KafkaSettings(
            security_protocol="SASL_SSL", sasl_username="me", sasl_password="secret"
        ),
    )
    write_settings(settings, tmp_path / "x.toml")
    assert load_settings(tmp_path / "x.toml") == settings
    assert (tmp_path / "x.toml").stat().st_mode & 0o077 == 0
    assert "secret" not in repr(settings)


def test_defaults_need_no_file():
    assert load_settings() == Settings()


def test_sources_may_come_from_the_environment():
    found = load_settings(None, {"SEGUE_SOURCES": '[{"topic": "clicks", "keyed_by_user": false}]'})
    assert [(s.topic, s.keyed_by_user) for s in found.sources] == [("clicks", False)]


def test_there_must_be_something_to_rekey():
    done = CliRunner().invoke(app, ["rekey", "--set", 'sources=[{"topic": "clicks"}]'])
    assert done.exit_code == 1
    assert "nothing to re-key" in done.stderr
