"""The parent of a worker has its member leave the group when it was killed, and only then."""

import os
import stat
import sys
from pathlib import Path

import pytest

from segue.supervised import PIPE, member_reporter, supervise
from streams import KafkaSettings

KAFKA = KafkaSettings()


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Has a shell script run in the place of the worker; returns who left which group."""

    def running(script: str) -> tuple[int, list[tuple[str, str]]]:
        program = tmp_path / "child"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(program))
        # The test's own handlers stay.
        monkeypatch.setattr("segue.supervised.signal.signal", lambda *_: None)
        left: list[tuple[str, str]] = []
        status = supervise(KAFKA, ["worker"], lambda _, group, member: left.append((group, member)))
        return status, left

    return running


def test_a_worker_that_was_killed_leaves_the_group_as_the_member_that_it_was_last(child):
    tell = f'echo "workers one" > /dev/fd/${PIPE}; echo "workers two" > /dev/fd/${PIPE}'
    assert child(f"{tell}; kill -9 $$") == (137, [("workers", "two")])


def test_a_worker_that_failed_leaves_too(child):
    assert child(f'echo "workers one" > /dev/fd/${PIPE}; exit 1') == (1, [("workers", "one")])


def test_a_worker_that_stopped_in_order_has_left_by_itself(child):
    assert child(f'echo "workers one" > /dev/fd/${PIPE}') == (0, [])


def test_a_worker_that_died_before_it_joined_leaves_nothing(child):
    assert child("exit 2") == (2, [])


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
