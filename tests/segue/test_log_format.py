"""The log: one JSON object a line in every role, with the place of the record, without secrets."""

import json
import logging
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from segue.cli import app, main
from segue.log_format import JsonLines, TextLines, secrets_of
from segue.settings import Settings, load_settings
from streams import AvroSettings, KafkaSettings, Record, SourceSettings
from streams.dead_letters import dead_letter
from streams.log_source import concerning, log_refused
from streams.records import Reason

ROLES = (
    ["worker"],
    ["trainer"],
    ["rekey"],
    ["console"],
    ["static", "build"],
    ["static", "schedule"],
)


@pytest.fixture
def written():
    """A logger that writes JSON, and its lines as objects."""

    class Lines(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[dict[str, object]] = []

        def emit(self, record: logging.LogRecord) -> None:
            line = self.format(record)
            assert "\n" not in line
            self.found.append(json.loads(line))

    handler = Lines()
    handler.setFormatter(JsonLines(role="worker", name="worker-1", hidden=frozenset({"hunter2"})))
    logger = logging.getLogger("tests.log_format")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, handler.found
    logger.removeHandler(handler)


def record(offset: int, value: bytes = b"{}") -> Record:
    return Record("segue.events", 3, offset, 1_000, b"ann", value)


def test_a_line_says_when_who_where_and_what(written):
    logger, lines = written
    logger.warning("two\nlines, %d figures", 2)
    [line] = lines
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "role": "worker",
        "name": "worker-1",
        "logger": "tests.log_format",
        "message": "two\nlines, 2 figures",
    }


def test_what_is_logged_while_records_are_handled_says_which(written):
    logger, lines = written
    with concerning([record(7), record(8), record(9)]):
        logger.info("inside")
        with concerning([record(20)]):
            logger.info("deeper")
    logger.info("outside")
    inside, deeper, outside = lines
    place = {"topic": "segue.events", "partition": 3}
    assert inside.items() >= {**place, "offset": 7, "last_offset": 9}.items()
    assert deeper["offset"] == 20
    assert "offset" not in outside


def test_dead_letters_of_a_batch_are_one_line_with_the_place_of_the_first(written):
    logger, lines = written
    letters = [
        dead_letter(record(offset), reason, "")
        for offset, reason in [(9, Reason.MALFORMED), (4, Reason.TOO_OLD), (5, Reason.TOO_OLD)]
    ]
    with concerning([record(1), record(9)]):
        log_refused(logger, letters)
        log_refused(logger, [])
    [line] = lines
    assert line["message"] == (
        "dead letters: 1 malformed, 2 too_old; the first is segue.events/3/4"
    )
    assert (line["partition"], line["offset"]) == (3, 4)


def test_an_error_comes_with_its_stack_in_the_same_line(written):
    logger, lines = written
    try:
        raise ValueError("login hunter2 refused")
    except ValueError:
        logger.exception("with hunter2")
    [line] = lines
    assert line["error"] == "ValueError"
    assert "test_an_error_comes" in line["stack"]
    assert "hunter2" not in json.dumps(line)
    assert line["message"] == "with ***"


def test_every_secret_of_the_settings_is_hidden():
    settings = replace(
        Settings(),
        kafka=KafkaSettings(
            security_protocol="SASL_SSL", sasl_username="me", sasl_password="of-kafka",
            ssl_password="of-key",
        ),
        sources=(
            SourceSettings(
                topic="t", format="avro",
                avro=AvroSettings(schemas="x", registry_user="u", registry_password="of-registry"),
            ),
        ),
    )  # fmt: skip
    assert secrets_of(settings) == {"of-kafka", "of-key", "of-registry"}
    line = logging.LogRecord("x", 20, "", 0, "%r and of-registry", (settings,), None)
    for form in (
        JsonLines(hidden=secrets_of(settings)),
        TextLines("%(message)s", secrets_of(settings)),
    ):
        shown = form.format(line)
        assert not any(secret in shown for secret in secrets_of(settings)), shown


def test_settings_that_look_like_secrets_are_left_out_of_reprs():
    """Whoever adds a password has to hide it: by its name it is found here."""
    seen = []

    def walk(kind, path):
        for item in kind.__dataclass_fields__.values():
            if any(word in item.name for word in ("password", "secret")):
                seen.append(item.name)
                assert not item.repr, f"{path}.{item.name}"
            factory = item.default_factory
            inner = factory if hasattr(factory, "__dataclass_fields__") else type(item.default)
            if hasattr(inner, "__dataclass_fields__"):
                walk(inner, f"{path}.{item.name}")

    walk(Settings, "settings")
    walk(SourceSettings, "sources")
    assert {"sasl_password", "ssl_password", "registry_password"} <= set(seen)


@pytest.mark.parametrize("role", ROLES, ids=" ".join)
def test_every_role_can_be_asked_for_json(role):
    assert (
        "--log-format" in CliRunner().invoke(app, [*role, "--help"], env={"COLUMNS": "200"}).output
    )


def test_it_is_a_setting_and_can_come_from_the_environment():
    assert load_settings(None, {"SEGUE_LOG__FORMAT": "json"}).log.format == "json"
    assert load_settings().log.format == "text"


def test_a_process_that_fails_says_so_as_json(monkeypatch, capsys):
    flags = ["--log-format", "json", "--set", 'sources=[{"topic": "clicks"}]']
    monkeypatch.setattr(sys, "argv", ["segue", "rekey", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert line["role"] == "rekey"
    assert line["level"] == "critical"
    assert "nothing to re-key" in line["message"]
