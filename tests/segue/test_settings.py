"""Settings: defaults, file, environment, flags, in this order; mistakes are named."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from segue import ranges
from segue.cli import app
from segue.ranges import numbers_of, range_of
from segue.settings import Settings, SettingsError, load_settings, write_settings
from streams import EventRules, KafkaSettings


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


# What Kubernetes sets in every pod beside a service of this name.
def of_a_service(name: str) -> dict[str, str]:
    return {
        f"{name}_SERVICE_HOST": "10.0.0.11",
        f"{name}_SERVICE_PORT": "8600",
        f"{name}_SERVICE_PORT_HTTP": "8600",
        f"{name}_PORT": "tcp://10.0.0.11:8600",
        f"{name}_PORT_8600_TCP": "tcp://10.0.0.11:8600",
        f"{name}_PORT_8600_TCP_PROTO": "tcp",
        f"{name}_PORT_8600_TCP_PORT": "8600",
        f"{name}_PORT_8600_TCP_ADDR": "10.0.0.11",
    }


@pytest.mark.parametrize("name", ["SEGUE", "SEGUE_CONSOLE", "SEGUE_WORKER_2", "SEGUE_DATA"])
def test_variables_of_kubernetes_services_are_no_settings(name):
    environment = {**of_a_service(name), "SEGUE_CONSOLE__PORT": "8601", "SEGUE_DATA": "here"}
    found = load_settings(None, environment)
    assert (found.console.port, found.data) == (8601, "here")
    shown = CliRunner().invoke(app, ["state", "show", "--user", "u"], env=environment)
    assert "no worker has a state" in shown.output


@pytest.mark.parametrize(
    "variable", ["SEGUE_CONSOLE_PORT", "SEGUE_CONSOLE_SERVICE", "SEGUE_CONSOL__SERVICE_PORT"]
)
def test_mistakes_that_only_look_like_a_service_are_named(variable):
    with pytest.raises(SettingsError, match="unknown setting"):
        load_settings(None, {variable: "8601"})


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("worker.bach=7", "'bach' is not one of"),
        ("worker=7", "group of settings"),
        ("worker.batch=many", "batch"),
        ("worker.batch", "expected path=value"),
        ("state.window.buckets=1000", "1 to 128 buckets"),
        ("kafka.bootstrap_servers=nowhere", "host:port"),
        ('sources=[{"topik": "t"}]', r"unknown setting 'sources\[0\].topik'"),
        ('sources=[{"topic": "t", "kind": {"file": "x"}}]', r"'sources\[0\].kind.file'"),
        ('sources=[{"topic": "t"}, {}]', r"`topic` - at `\$.sources\[1\]`"),
        ('sources=[{"topic": "t", "user_id": "a..b"}]', r"user_id: .* at `\$.sources\[0\]`"),
        ('sources=[{"topic": "t", "timestamp": {"unit": "days"}}]', r"sources\[0\].timestamp.unit"),
        ('sources=[{"topic": "t", "kind": {"default": "x"}}]', r"sources\[0\].kind: 'default'"),
        ('sources=[{"topic": "segue.events"}]', "Segue's own topics"),
        ('worker.lists=[{"nam": "mix"}]', r"unknown setting 'worker.lists\[0\].nam'"),
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


NUMBERS = [
    *dict(numbers_of(Settings())),
    "worker.lists[0].k", "experiments.arms[0].share", "experiments.arms[0].canary.step",
]  # fmt: skip


def set_to(path, value):
    """The flag that sets a number; those in lists by the JSON of the list."""
    lists = {
        "worker.lists[0].k": f'worker.lists=[{{"name": "a", "k": {value}}}]',
        "experiments.arms[0].share": f'experiments.arms=[{{"name": "a", "share": {value}}}]',
        "experiments.arms[0].canary.step": 'experiments.arms=[{"name": "a", "share": 0.5}, '
        f'{{"name": "b", "share": 0.5, "channel": "b", "canary": {{"step": {value}}}}}]',
    }
    return lists.get(path) or f"{path.partition('[')[0]}={value}"


@pytest.mark.parametrize("path", NUMBERS)
def test_no_number_of_the_settings_may_be_negative_or_beyond_all_bounds(path):
    for value in (-5, 10**30):
        with pytest.raises(SettingsError):
            load_settings(None, {}, [set_to(path, value)])


def test_a_number_out_of_its_range_is_named_with_the_range():
    for flag, message in [
        ("worker.batch=-5", "worker.batch: expected a number of at least 1, got -5"),
        ("worker.batch=0", "worker.batch: expected a number of at least 1, got 0"),
        (
            "worker.example_share=1.5",
            "example_share: expected a number of at least 0 and at most 1",
        ),
        ("dynamic.learning_rate=0", "learning_rate: expected a number of more than 0"),
        ("console.port=99999", "console.port: expected a number of at least 0 and at most 65535"),
        ("trainer.settle_s=inf", "settle_s: expected a number of at least 0"),
        ("trainer.settle_s=nan", "settle_s: expected a number of at least 0"),
        ("static.train.fan_outs=10,-1", "fan_outs[1]: expected a number of at least 0, got -1"),
    ]:
        with pytest.raises(SettingsError) as error:
            load_settings(None, {}, [flag])
        assert message in str(error.value)


def test_what_is_off_at_zero_may_be_zero():
    flags = ["trainer.threads=0", "trainer.prequential_per_s=0", "console.port=0"]
    assert load_settings(None, {}, flags).trainer.prequential_per_s == 0


def test_the_table_of_ranges_names_settings_that_exist():
    known = {
        path for path in ranges._BY_PATH if not path.startswith(("worker.lists", "experiments"))
    }
    listed = {path.partition("[")[0] for path in NUMBERS}
    assert known - listed == set()
    assert range_of("worker.lists[3].k") == range_of("worker.batch")


def test_a_command_refuses_a_number_out_of_its_range():
    done = CliRunner().invoke(app, ["worker", "--set", "worker.batch=-5"])
    assert done.exit_code == 2
    assert "worker.batch: expected a number of at least 1, got -5" in done.output


def test_actions_tell_the_state_and_the_trainer_what_kinds_mean(tmp_path):
    actions = (
        '[{"kind": "buy", "weight": 3, "graph": true}, {"kind": "like", "known": true},'
        ' {"kind": "dislike", "sign": "negative"}, {"kind": "preview", "sign": "neutral"}]'
    )
    found = load_settings(None, {}, [f"events.actions={actions}"])
    assert found.events.kinds == (*EventRules().kinds, "buy", "like", "dislike")
    assert found.state.graph_kinds == ("stream", "buy")
    assert {a.kind: (a.sign, a.known) for a in found.state.actions} == {
        "buy": ("positive", True), "like": ("positive", True),
        "dislike": ("negative", False), "preview": ("neutral", False),
    }  # fmt: skip
    assert {w.kind: w.weight for w in found.dynamic.loss.kind_weights} == {
        "buy": 3, "like": 1, "dislike": 0, "preview": 1,
    }  # fmt: skip
    write_settings(found, tmp_path / "x.toml")
    assert load_settings(tmp_path / "x.toml") == found
    # Signs and weights are not in the hash that says with which settings a state was made.
    signs = load_settings(None, {}, ['events.actions=[{"kind": "skip", "sign": "negative"}]'])
    assert signs.state.fingerprint() == Settings().state.fingerprint()
    assert found.state.fingerprint() != Settings().state.fingerprint()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ('{"kind": ""}', "empty"),
        ('{"kind": "x", "sign": "bad"}', "sign"),
        ('{"kind": "x", "sign": "negative", "graph": true}', "cannot build the graph"),
        ('{"kind": "stream", "sign": "negative"}', "negative, but also one of graph_kinds"),
        ('{"kind": "x", "sign": "negative", "weight": 2}', "no weight"),
        ('{"kind": "x", "weight": -1}', "weight"),
        ('{"kind": "x"}, {"kind": "x"}', "named twice"),
        ('{"kind": "play", "graph": true, "known": false}', "name the other graph kinds too"),
        ('{"kind": "x", "sing": "negative"}', r"unknown setting 'events.actions\[0\].sing'"),
    ],
)
def test_actions_that_contradict_are_refused(action, message):
    with pytest.raises(SettingsError, match=message):
        load_settings(None, {}, [f"events.actions=[{action}]"])


def test_impressions_are_a_source_of_segues_own_topic_or_of_another(tmp_path):
    flags = [
        'sources=[{"topic": "segue.impressions", "format": "impressions"},'
        ' {"topic": "shop.shown", "format": "impressions"}]'
    ]
    found = load_settings(None, {}, flags)
    assert [one.format for one in found.sources] == ["impressions"] * 2
    assert found.state.impressions, "what was shown and taken is counted"
    assert not Settings().state.impressions
    with pytest.raises(SettingsError, match="expected a source of the topic"):
        load_settings(flags=['worker.shown_lists=["mix"]'])
    write_settings(found, tmp_path / "x.toml")
    assert load_settings(tmp_path / "x.toml") == found
    for bad, message in (
        ('{"topic": "segue.impressions"}', "Segue's own topics"),
        ('{"topic": "segue.events", "format": "impressions"}', "Segue's own topics"),
        ('{"topic": "x", "format": "impressions", "user_id": "u"}', "no setting beside topic"),
        ('{"topic": "x", "format": "impressions", "keyed_by_user": false}', "no setting beside"),
    ):
        with pytest.raises(SettingsError, match=message):
            load_settings(None, {}, [f"sources=[{bad}]"])


def test_a_source_may_map_to_actions_and_to_nothing_that_is_not_named():
    source = '[{"topic": "a", "kind": {"field": "k", "values": {"thumb_down": "dislike"}}}]'
    with pytest.raises(SettingsError, match="not one of events"):
        load_settings(None, {}, [f"sources={source}"])
    load_settings(
        None, {}, [f"sources={source}", 'events.actions=[{"kind": "dislike", "sign": "negative"}]']
    )
