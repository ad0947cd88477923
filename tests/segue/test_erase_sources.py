"""`segue erase` and `segue replay` where a source still holds the erased user's records."""

import json
from pathlib import Path

from typer.testing import CliRunner

from segue.cli import app
from segue.settings import load_settings
from state import PartitionState
from streams import EmbeddedLog, Event, create_topics, encode, topics
from streams.topics import TopicDefinition

NOW = 1_700_000_000_000
SOURCES = '[{"topic": "player", "kind": {"field": "did"}}]'


def test_a_replay_brings_back_no_record_of_the_source(tmp_path: Path) -> None:
    flags = [
        "--set", f"data={tmp_path}", "--set", "topics.partitions=1",
        "--set", "state.delta_room=4096", "--set", f"sources={SOURCES}",
    ]  # fmt: skip
    settings = load_settings(None, {}, flags[1::2])

    def segue(*arguments: str) -> dict:
        done = CliRunner().invoke(app, [*arguments, "--json", *flags])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def histories(name: str) -> dict[str, int]:
        folder = tmp_path / "replays" / name / "00000"
        state = PartitionState(folder, 0, settings.state, read_only=True)
        found = {user: len(state.history(user)) for user in sorted(state.user_ids())}
        state.close()
        return found

    def play(log: EmbeddedLog, user: str, *items: str) -> None:
        for item in items:
            value = {
                "user_id": user, "item_id": item, "item_type": "podcast", "did": "stream",
                "timestamp": NOW,
            }  # fmt: skip
            log.append("player", user.encode(), json.dumps(value).encode(), NOW)

    with EmbeddedLog(tmp_path / "embedded-log", clock=lambda: NOW) as log:
        create_topics(log, topics(settings.topics))
        log.create_topic(TopicDefinition(name="player", partitions=1))
        play(log, "ann", "a", "b", "c")
        play(log, "bob", "a", "b")
        own = Event(user_id="ann", item_id="d", item_type="podcast", kind="stream", timestamp=NOW)
        log.append(settings.topics.events, own.key, encode(own))
    segue("replay", "--log", "embedded", "--into", "before")
    assert histories("before") == {"ann": 4, "bob": 2}

    receipt = segue("erase", "ann", "--to", "embedded")["receipt"]
    assert receipt["count_from"] == {"player/0": 5}
    assert receipt["copies"]["topic player"] is None
    segue("replay", "--log", "embedded", "--into", "after")
    assert histories("after") == {"bob": 2}

    # Older times than the erasure's: the position counts.
    with EmbeddedLog(tmp_path / "embedded-log", clock=lambda: NOW) as log:
        play(log, "ann", "z")
    segue("replay", "--log", "embedded", "--into", "later")
    assert histories("later") == {"ann": 1, "bob": 2}
