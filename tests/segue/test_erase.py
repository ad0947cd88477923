"""segue erase, on the embedded log: one command writes the records, applies them and shows it."""

import json

import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.settings import load_settings
from streams import EmbeddedLog, Event, Receipt, User, create_topics, decode, encode, topics


@pytest.fixture
def world(tmp_path):
    """Settings of a folder with an embedded log in which ann and bob have listened."""
    flags = [f"data={tmp_path}", "topics.partitions=2"]
    settings = load_settings(flags=flags)
    with EmbeddedLog(settings.folder / "embedded-log") as log:
        create_topics(log, topics(settings.topics))
        for user in ("ann", "bob"):
            log.append(settings.topics.users, user.encode(), encode(User(user_id=user)))
            for item in "abc":
                event = Event(
                    user_id=user, item_id=item, item_type="podcast", kind="stream", timestamp=1
                )
                log.append(settings.topics.events, event.key, encode(event))
    return settings, [part for flag in flags for part in ("--set", flag)]


def records(settings, topic):
    with EmbeddedLog(settings.folder / "embedded-log") as log:
        return [r for n in range(log.partitions(topic)) for r in log.read(topic, n, 0)]


def test_a_user_is_erased_and_the_receipt_is_shown(world):
    settings, flags = world
    done = CliRunner().invoke(app, ["erase", "ann", "--to", "embedded", "--json", *flags])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["receipt"]["held"] is True
    assert found["receipt"]["position"] == found["events"]["offset"] + 1
    [receipt] = [decode(Receipt, r.value) for r in records(settings, settings.topics.receipts)]
    assert receipt.user_sha256 == found["receipt"]["user_sha256"]
    gone = {(r.topic, r.key) for topic in (settings.topics.users, settings.topics.recommendations)
            for r in records(settings, topic) if r.value is None}  # fmt: skip
    assert gone == {("segue.users", b"ann"), ("segue.recommendations", b"ann")}

    again = CliRunner().invoke(app, ["erase", "ann", "--to", "embedded", *flags])
    assert again.exit_code == 0, again.output
    shown = " ".join(again.output.split())
    assert "holds ann (the user had no history)" in shown
    # The first command's checkpoint is younger than its erasure and older than this one.
    assert "pruned by" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x" * 257, "--to", "embedded"], "expected an id of 1 to 256 bytes"),
        (["ann", "--to", "paper"], "expected kafka or embedded"),
    ],
)
def test_what_cannot_be_erased_is_refused_before_anything_is_written(world, arguments, message):
    settings, flags = world
    done = CliRunner().invoke(app, ["erase", *arguments, *flags])
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())
    assert [r for r in records(settings, settings.topics.events) if r.value is None] == []


def test_a_log_in_use_is_said_so(world):
    settings, flags = world
    with EmbeddedLog(settings.folder / "embedded-log"):
        done = CliRunner().invoke(app, ["erase", "ann", "--to", "embedded", *flags])
    assert done.exit_code == 1
    assert "is open elsewhere" in " ".join(done.stderr.split())
