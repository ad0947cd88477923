"""Every command that talks to Kafka says in one line that no broker answers."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import typer.main
from typer.testing import CliRunner

from segue import lazy_commands
from segue.cli import app
from segue.lazy_commands import load_command
from streams import KafkaSettings, reach

#: Arguments of each command that talks to Kafka; {events}, {items} and {policy} are files.
COMMANDS = {
    "topics create": [],
    "topics grow": ["--partitions", "12", "--yes"],
    "feed": ["{events}", "{items}"],
    "catalogue": ["{items}"],
    "erase": ["u1"],
    "status": [],
    "recommend": ["u1"],
    "search": ["jazz"],
    "replay": ["--into", "{folder}/replayed"],
    "sources check": [],
    "experiments": [],
    "experiments restart": ["next"],
    "experiments stop": ["next"],
    "experiments estimate": ["{policy}"],
    "models list": [],
    "models show": ["dynamic-1"],
    "models pin": ["dynamic-1"],
    "models promote": ["dynamic-1"],
    "models unpin": [],
    "models rollback": [],
    "policy check": ["{policy}"],
    "policy apply": ["{policy}", "-m", "why"],
    "policy diff": ["{policy}"],
    "policy log": [],
    "policy undo": ["mix"],
    "policy preview": ["{policy}"],
    "state move": ["new"],
    "export": ["{folder}/history"],
    "evaluate": ["--from-kafka"],
    "static build": [],
    "worker": [],
    "trainer": [],
    "rekey": [],
    "console": ["--port", "0"],
}
#: Those that run for months wait for a broker when they start, and write a warning first.
ROLES = {"worker", "trainer", "rekey", "console"}
#: Commands that talk to no broker, to one that they start, or go on until one answers.
OTHERS = {
    *(
        "try",
        "doctor",
        "backup",
        "restore",
        "token",
        "demo",
        "reproduce",
        "state diff",
        "state show",
        "static compare",
    ),
    *("static schedule", "kafka start", "kafka jars", "kafka stop", "kafka env", "kafka status"),
}

SETTINGS = """
[[experiments.arms]]
name = "today"
share = 0.5

[[experiments.arms]]
name = "next"
share = 0.5
channel = "next"
canary = {first = 0.01, step = 0.05, every_s = 3600}

[[sources]]
topic = "player.activity"
user_id = "user"
item_id = "item"
item_type = {default = "track"}
kind = {default = "stream"}
timestamp = {field = "at", unit = "ms"}

[[sources]]
topic = "player.others"
keyed_by_user = false
user_id = "user"
item_id = "item"
item_type = {default = "track"}
kind = {default = "stream"}
timestamp = {field = "at", unit = "ms"}
"""


def names(command: object, before: str = "") -> Iterator[str]:
    """Names of all commands, with their groups."""
    for name, listed in getattr(command, "commands", {}).items():
        # The root group lists its commands and imports them when they are called.
        sub = listed if before or name not in lazy_commands.COMMANDS else load_command(name)
        if hasattr(sub, "commands"):
            yield from names(sub, f"{before}{name} ")
        else:
            yield f"{before}{name}"


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Roles handle signals from their start on; this process goes on after them."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    events, items = tmp_path / "events.parquet", tmp_path / "items.parquet"
    pl.DataFrame(
        {"user_id": ["u"], "item_type": ["track"], "item_id": ["1"], "kind": ["play"]}
        | {"timestamp": [1_700_000_000_000]}
    ).write_parquet(events)
    pl.DataFrame({"item_type": ["track"], "item_id": ["1"], "title": ["A"]}).write_parquet(items)
    (tmp_path / "segue.toml").write_text(SETTINGS)
    (policy := tmp_path / "policy.toml").write_text("[lists.mix]\ndiversity = 0.1\n")
    found = {"events": events, "items": items, "policy": policy, "folder": tmp_path}
    return {name: str(path) for name, path in found.items()}


@pytest.fixture
def dead() -> str:
    """Address that refuses connections."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """Address that takes connections and never answers, as a stopped process does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def run(command: str, arguments: list[str], address: str, folder: str) -> tuple[int, str]:
    options = ["--config", f"{folder}/segue.toml"]
    options += ["--set", f"kafka.bootstrap_servers={address}", "--set", f"data={folder}/data"]
    ran = CliRunner().invoke(app, [*command.split(), *arguments, *options], env={"COLUMNS": "1000"})
    return ran.exit_code, ran.output


def test_every_command_is_looked_at() -> None:
    found = {
        name
        for name in names(typer.main.get_command(app))
        if not name.startswith(("bench ", "simulate "))
    }
    named = {name for name in COMMANDS if name != "experiments"}
    assert found == named | OTHERS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dead_broker_is_told_in_one_line(
    command: str, files: dict[str, str], dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PATIENCE_S", 0.2)
    arguments = [argument.format(**files) for argument in COMMANDS[command]]

    status, output = run(command, arguments, dead, files["folder"])

    assert status == 1, output
    lines = [line for line in output.splitlines() if line.strip()]
    assert len(lines) <= (2 if command in ROLES else 1), output
    assert f"error: no Kafka broker answers at {dead}" in lines[-1]


def test_a_command_without_a_broker_says_what_to_do(files: dict[str, str], dead: str) -> None:
    _, output = run("status", COMMANDS["status"], dead, files["folder"])
    assert "set KAFKA_BOOTSTRAP_SERVERS, or start one for development" in output


def test_a_file_that_is_missing_is_told_before_the_broker(files: dict[str, str], dead: str) -> None:
    for command in ("policy check", "policy apply", "experiments estimate"):
        status, output = run(command, ["missing.toml"], dead, files["folder"])
        assert (status, output) == (1, "error: file not found: missing.toml\n")


def test_a_channel_that_is_not_there_is_told_before_the_broker(
    files: dict[str, str], dead: str
) -> None:
    status, output = run("models list", ["--channel", "gone"], dead, files["folder"])
    assert status == 2, output
    assert "no arm of the settings has channel 'gone'" in " ".join(output.split())


@pytest.mark.parametrize("command", ["status", "models list", "feed"])
def test_a_broker_that_hangs_is_told_after_the_wait_for_a_first_answer(
    command: str, files: dict[str, str], silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    ask_all = reach._ask_all

    def recorded(kafka: KafkaSettings, answer_s: float) -> None:
        limits.append(answer_s)
        ask_all(kafka, answer_s)

    monkeypatch.setattr(reach, "ANSWER_S", 0.2)
    monkeypatch.setattr(reach, "_ask_all", recorded)
    arguments = [argument.format(**files) for argument in COMMANDS[command]]

    status, output = run(command, arguments, silent, files["folder"])

    assert status == 1, output
    assert "no answer" in output
    assert set(limits) == {0.2}


@pytest.mark.parametrize("command", [*sorted(COMMANDS.keys() - ROLES), "doctor"])
def test_wrong_settings_are_told_without_asking_the_broker(
    command: str, files: dict[str, str], dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the broker was asked")

    monkeypatch.setattr(reach, "_ask_all", asked)
    arguments = [argument.format(**files) for argument in COMMANDS.get(command, [])]
    wrong = ["--set", "worker.list_length=none"]

    status, output = run(command, [*arguments, *wrong], dead, files["folder"])

    assert status == 2, output
    [line] = [line for line in output.splitlines() if line.strip()]
    assert line.startswith("settings: ")
    assert "worker.list_length" in line
