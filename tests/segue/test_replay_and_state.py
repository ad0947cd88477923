"""`segue replay` makes the worker's state again; `segue state` compares states and shows them."""

import asyncio
import hashlib
import json
import random
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from agents.outputs import EmbeddedOutputs
from segue.cli import app
from segue.roles import make_worker
from segue.settings import load_settings
from simulation import faults
from streams import EmbeddedLog, Event, Item, User, create_topics, encode, topics
from tests.waiting import PATIENCE_S

NOW = 1_700_000_000_000
HOUR = 3_600_000
PARTITIONS = 2
#: Holds the lock of a database as a running worker does, until its standard input ends.
HOLD = """
import fcntl, sys
lock = open(sys.argv[1], "r+b")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class World:
    """A data folder: an embedded log, and what a worker made of it."""

    def __init__(self, folder):
        self.folder = folder
        self.flags = [
            "--set", f"data={folder}", "--set", f"topics.partitions={PARTITIONS}",
            "--set", "state.delta_room=4096",
        ]  # fmt: skip
        self.settings = load_settings(None, {}, self.flags[1::2])
        self.now = NOW

    def segue(self, *arguments, status=0):
        done = CliRunner().invoke(app, [*arguments, *self.flags])
        assert done.exit_code == status, done.output
        return done

    def json(self, *arguments, status=0):
        return json.loads(self.segue(*arguments, "--json", status=status).stdout)

    def replay(self, name, *arguments):
        return self.json("replay", "--log", "embedded", "--into", name, *arguments)

    def make(self):
        """Fill the log; checkpoint the worker two hours before its end."""
        names, chance = self.settings.topics, random.Random(4)
        with EmbeddedLog(self.folder / "embedded-log", clock=lambda: self.now) as log:
            create_topics(log, topics(names))
            worker = make_worker(self.settings, "w", EmbeddedOutputs(log), lambda: self.now)
            keyed = [
                (t, n)
                for t in (names.users, names.catalogue, names.events)
                for n in range(PARTITIONS)
            ]
            asyncio.run(worker.assigned(keyed))

            def write(record, topic):
                log.append(topic, record.key, encode(record))

            def events(count):
                for _ in range(count):
                    event = Event(
                        user_id=f"user-{chance.randrange(20)}",
                        item_id=f"i{chance.randrange(30)}",
                        item_type=chance.choice(["podcast", "audiobook"]),
                        kind=chance.choice(["stream", "follow"]),
                        timestamp=self.now - chance.randrange(80 * 24 * HOUR),
                    )
                    write(event, names.events)

            async def apply():
                for topic, number in keyed:
                    at = worker.partitions.position(topic, number) or 0
                    while records := log.read(topic, number, at, 37):
                        await worker.handle(records)
                        at = records[-1].offset + 1

            for number in range(30):
                item = Item(item_id=f"i{number}", item_type="podcast", title=f"Title {number}")
                write(item, names.catalogue)
            write(User(user_id="user-3", country="SE"), names.users)
            events(300)
            for fault in faults(6, self.now, item_type="podcast", huge_bytes=10_000):
                log.append(names.events, fault.key, fault.value)
            asyncio.run(apply())
            asyncio.run(worker.checkpoint())
            self.now += 2 * HOUR
            log.append(names.catalogue, b"podcast\0i0", None)
            events(200)
            asyncio.run(apply())
            asyncio.run(worker.commit())
            worker.close()
        EmbeddedLog(self.folder / "embedded-log").close()  # compacts when it is opened
        return self

    def content(self):
        """Digests of all files outside of the replays; what merely opening writes is left out."""
        opened = {"rocksdict-config.json", "LOG", "lock"}
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "replays" not in path.parts and path.name not in opened
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("data")).make()
    before = made.content()
    yield made
    assert made.content() == before, "something wrote to the log, the live state or a checkpoint"


def test_a_replay_of_the_whole_log_is_the_live_state(world):
    summary = world.replay("whole")
    assert summary["whole"]
    assert summary["events"] == 506
    assert sum(summary["dead_letters"].values()) == 6
    assert world.json("state", "diff", "live", "whole") == {
        "equal": True, "notes": [], "differences": [],
    }  # fmt: skip


def test_a_replay_up_to_a_checkpoint_is_that_checkpoint(world):
    world.replay("as-checkpoint", "--to", "state=checkpoint", "--set", "worker.batch=11")
    found = world.json("state", "diff", "checkpoint", "as-checkpoint", status=1)
    # The log has compacted what the checkpoint still knows of an item that was deleted later.
    assert [(d["part"], d["key"]) for d in found["differences"]] == [("item", ["podcast/i0"])]
    assert all("is read from its checkpoint" in note for note in found["notes"])
    lines = world.segue("state", "diff", "live", "as-checkpoint", "--limit", "3", status=1).stdout
    assert "position segue.events" in lines
    assert "there can be more" in lines


def test_a_replay_from_a_time_says_that_it_is_a_part(world):
    at = "2023-11-14T23:13:20Z"  # an hour after the first records
    summary = world.replay("part", "--from", at)
    assert not summary["whole"]
    assert summary["events"] == 200
    gaps = [part["missing"]["segue.events"] for part in summary["partitions"].values()]
    assert sum(end - first for [[first, end]] in gaps) == 306
    found = world.json("state", "diff", "live", "part", status=1)
    assert sum("lacks offsets 0 to" in note for note in found["notes"]) == PARTITIONS
    assert {d["part"] for d in found["differences"]} <= {"history", "pair", "watermark"}

    first = world.replay("first", "--to", at)
    assert first["events"] == 306
    assert first["whole"]


def test_a_name_is_used_once_unless_it_is_replaced(world):
    world.replay("again", "--to", "2023-11-14T00:00Z")
    done = world.segue("replay", "--log", "embedded", "--into", "again", status=1)
    assert "--replace" in done.output
    assert world.replay("again", "--replace")["events"] == 506
    world.segue("replay", "--log", "embedded", "--into", "../elsewhere", status=1)


def test_a_state_of_other_settings_is_refused_and_the_setting_named(world):
    world.replay("whole-too")
    done = world.segue(
        "state", "diff", "whole-too", "live", "--set", "state.window.buckets=30", status=2
    )
    assert "state.window.buckets = 90, not 30" in " ".join(done.output.split())


def test_a_running_workers_checkpoint_stands_in_for_its_state(world):
    world.replay("whole-again")
    busy = world.folder / "workers/w/state/00001/LOCK"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(busy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline()
        found = world.json("state", "diff", "live", "whole-again", "--limit", "0", status=1)
    finally:
        holder.communicate(timeout=PATIENCE_S)
    assert ["running worker" in note for note in found["notes"]] == [True]
    assert {d["partition"] for d in found["differences"]} == {1}


def test_an_unfinished_replay_is_noted(world):
    world.replay("unfinished")
    (world.folder / "replays/unfinished/replay.json").unlink()
    [note] = world.json("state", "diff", "live", "unfinished")["notes"]
    assert "is incomplete" in note


def test_a_user_is_shown_with_times_visits_and_titles(world):
    found = world.json("state", "show", "--user", "user-3", "--limit", "1000")
    assert found["attributes"]["country"] == "SE"
    assert found["entries"] == len(found["history"]) > 10
    times = [row["time"] for row in found["history"]]
    assert times == sorted(times, reverse=True)
    assert all(row["visits"][0] == 0 for row in found["history"])
    assert any(len(row["visits"]) > 1 for row in found["history"])
    titles = {
        row["item_id"]: row["title"] for row in found["history"] if row["item_type"] == "podcast"
    }
    assert {title for item, title in titles.items() if item != "i0"} <= {
        f"Title {n}" for n in range(30)
    }
    text = world.segue("state", "show", "--user", "user-3").stdout
    assert "buckets" in text


def test_an_item_is_shown_with_its_neighbours_summed_over_partitions(world):
    found = world.json("state", "show", "--item", "i1", "--type", "podcast", "--limit", "1000")
    expected = {}
    for user in (f"user-{n}" for n in range(20)):
        rows = world.json("state", "show", "--user", user, "--limit", "1000")["history"]
        strong = {(row["item_type"], row["item_id"]) for row in rows if row["strong"]}
        if ("podcast", "i1") in strong:
            for item in strong:
                expected[item] = expected.get(item, 0) + 1
    assert found["users"] == expected.pop(("podcast", "i1"))
    assert found["catalogue"]["title"] == "Title 1"
    assert {(n["item_type"], n["item_id"]): n["users"] for n in found["neighbours"]} == expected
    assert "Title" in world.segue("state", "show", "--item", "i1", "--type", "podcast").stdout
    assert "add --type" in world.segue("state", "show", "--item", "i1", status=1).output


def test_a_state_that_does_not_exist_says_what_was_expected(world):
    assert "the name of a replay" in world.segue("state", "diff", "live", "nope", status=2).output
