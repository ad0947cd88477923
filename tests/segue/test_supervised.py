"""The parent of a worker has its member leave the group when it was killed, and only then."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.supervised import PIPE, member_reporter, stop_on_signals, supervise
from streams import KafkaSettings

KAFKA = KafkaSettings()
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Has a shell script run in the place of the worker; returns who left which group."""

    def running(script: str) -> tuple[int, list[tuple[str, str]]]:
        program = tmp_path / "child"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(program))
        left: list[tuple[str, str]] = []
        status = supervise(KAFKA, ["worker"], lambda _, group, member: left.append((group, member)))
        return status, left

    # The test's own handlers come back. Another test of this process may have left one ignored.
    before = {number: signal.getsignal(number) for number in FORWARDED}
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    yield running
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_worker_that_was_killed_leaves_the_group_as_the_member_that_it_was_last(child):
    tell = f'echo "workers one" > /dev/fd/${PIPE}; echo "workers two" > /dev/fd/${PIPE}'
    assert child(f"{tell}; kill -9 $$") == (137, [("workers", "two")])


def test_a_worker_that_failed_leaves_too(child):
    assert child(f'echo "workers one" > /dev/fd/${PIPE}; exit 1') == (1, [("workers", "one")])


def test_a_worker_that_stopped_in_order_has_left_by_itself(child):
    assert child(f'echo "workers one" > /dev/fd/${PIPE}') == (0, [])


def test_a_worker_that_died_before_it_joined_leaves_nothing(child):
    assert child("exit 2") == (2, [])


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_are_passed_on(child, name: str):
    assert child(f"trap 'exit 7' {name}; kill -{name} $PPID; while :; do :; done") == (7, [])


def test_a_second_signal_to_stop_kills_the_child(child):
    script = "trap 'kill -TERM $PPID' TERM; kill -TERM $PPID; while :; do :; done"
    assert child(script) == (137, [])


def test_what_the_shell_ignores_stays_ignored(child):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert child("kill -HUP $PPID") == (0, [])
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


async def test_a_child_that_gets_a_signal_twice_stops_in_order():
    loop = asyncio.get_running_loop()
    stop = stop_on_signals(loop)
    try:
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def test_the_child_is_started_as_its_parent_was(monkeypatch: pytest.MonkeyPatch):
    """`-m segue` would have a file in the working folder hide a package of the same name."""
    started, logged = [], []
    monkeypatch.setattr(sys, "orig_argv", ["python", "-I", "/bin/segue", "worker", "--supervised"])
    monkeypatch.setattr(
        "segue.supervised.supervise", lambda _, arguments: started.append(arguments) or 3
    )
    monkeypatch.setattr(
        "segue.options.format_log", lambda form, who, **_: logged.append((form, who.role, who.name))
    )
    given = ["worker", "--supervised", "--name", "w", "--log-format", "json"]
    assert CliRunner().invoke(app, given).exit_code == 3
    assert started == [["-I", "/bin/segue", "worker", "--supervised"]]
    assert logged == [("json", "worker", "w")]


def test_a_parent_that_was_killed_while_the_child_started_ends_it(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setenv(PIPE, str(writing))
    monkeypatch.setattr("segue.supervised.sys.platform", "linux")
    monkeypatch.setattr("segue.supervised.ctypes.CDLL", lambda _: Mock())
    sent: list[int] = []
    monkeypatch.setattr("segue.supervised.signal.raise_signal", sent.append)
    member_reporter()
    os.close(writing)
    assert sent == [signal.SIGTERM]


def test_the_child_tells_its_parent_and_its_own_children_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
):
    assert member_reporter() is None
    reading, writing = os.pipe()
    monkeypatch.setenv(PIPE, str(writing))
    monkeypatch.setattr("segue.supervised.sys.platform", "other")  # no signal to this process
    report = member_reporter()
    assert report is not None and PIPE not in os.environ
    report("workers", "one")
    assert os.read(reading, 100) == b"workers one\n"
    os.close(reading)
    report("workers", "two")  # the parent is gone: no error
    os.close(writing)
