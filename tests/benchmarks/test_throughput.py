"""The throughput benchmark without a broker: who is measured, what outputs say, ratios."""

import pytest
import typer.testing
from rocksdict import Options, Rdict

from benchmarks import python_peers
from benchmarks.commits import Commit
from benchmarks.job import BenchError, Done, Place, done_in, named, said
from benchmarks.jobs import JOBS, Drain, FaustTables
from benchmarks.listening import MASK, Totals, item_hash, pair_mix
from benchmarks.measure import Run
from benchmarks.python_peers import Pathway, QuixStreams, environment
from benchmarks.throughput import Plan, _report, _row_of, _Turn, _turns
from segue.commands.bench.events import throughput
from streams import KafkaSettings, TopicSettings

NO_TOTALS = Totals(count=0, checksum=0)


def totals(*counts):
    checksum = sum(n * pair_mix(bucket, item_hash(*a), item_hash(*b)) for bucket, a, b, n in counts)
    return Totals(count=sum(count[-1] for count in counts), checksum=checksum & MASK)


def place(folder):
    return Place(kafka=KafkaSettings(), topics=TopicSettings(), group="g", folder=folder)


def test_the_command_names_every_job():
    app = typer.Typer()
    app.command()(throughput)
    shown = typer.testing.CliRunner().invoke(app, ["--help"], env={"COLUMNS": "400"}).output
    assert all(name in shown for name in JOBS)


def test_each_job_gets_its_number_of_events_and_segue_two_workers_on_the_last():
    plan = Plan(events=(10, 20), peer_events=7, faust_events=3, workers=2)
    assert [str(turn) for turn in _turns(plan)] == [
        "segue on 10 events",
        "segue on 20 events",
        "segue of 2 workers on 20 events",
        "segue-librdkafka on 20 events",
        "drain on 20 events",
        "pathway on 7 events",
        "quix-streams on 7 events",
        "kafka-streams on 7 events",
        "kafka-streams-changelog on 7 events",
        "faust on 3 events",
    ]
    assert {name for name, job in JOBS.items() if not job.peer} == {
        "segue", "segue-librdkafka", "drain",
    }  # fmt: skip


def test_an_output_is_read_up_to_its_last_whole_line():
    log = (
        'a warning\n{"started": 5}\n{"events": 3, "at": 70}\n{"events": 9, "at": 90}\n{"events": 1'
    )
    assert said(log, "started") == 5
    assert said(log, "count") is None
    assert done_in(log) == Done(events=9, at_ms=90)
    assert done_in('{"started": 5}') is None


def test_the_first_position_that_it_read_tells_when_pathway_began():
    commits = [
        Commit(at_ms=at, partition=0, offset=offset) for at, offset in ((4, 0), (6, 2), (8, 5))
    ]
    assert Pathway().started_ms("", commits) == 6
    assert Pathway().started_ms("", commits[:1]) is None


def test_counts_by_name_are_summed_like_the_definition():
    counts = [(20_000, ("podcast", "a"), ("episode", "b"), 3), (7, ("x", "c"), ("x", "c"), -1)]
    by_name = ((bucket, "/".join(a), "/".join(b), n) for bucket, a, b, n in counts)
    assert named(by_name) == totals(*counts)


def test_the_changes_that_pathway_wrote_are_its_counts(tmp_path):
    (tmp_path / "pathway-0").mkdir()
    rows = [
        "bucket,a,b,count,time,diff",
        "4,x/a,x/b,2,10,1",
        "4,x/a,x/b,2,12,-1",
        "4,x/a,x/b,5,12,1",
    ]
    (tmp_path / "pathway-0" / "pairs.csv").write_text("\n".join(rows) + "\n")
    assert Pathway().totals(place(tmp_path), []) == totals((4, ("x", "a"), ("x", "b"), 5))


def test_the_state_of_quix_streams_holds_histories_and_counts(tmp_path):
    folder = tmp_path / "quix-streams-0" / "g" / "default" / "events" / "3"
    folder.parent.mkdir(parents=True)
    state = Rdict(str(folder), Options(raw_mode=True))
    state[b'"partition"|"history|user-1"'] = b'{"x/a":[5,5]}'
    state[b'"partition"|"4|x/a|x/b"'] = b"5"
    state.close()
    assert QuixStreams().totals(place(tmp_path), []) == totals((4, ("x", "a"), ("x", "b"), 5))


def test_an_environment_is_made_once_and_again_for_another_lock(tmp_path, monkeypatch):
    lock = tmp_path / "requirements-none.lock"
    monkeypatch.setattr(python_peers, "lock_of", lambda name: lock)
    lock.write_text("")
    python = environment("none", tmp_path / "made")
    made = python.stat().st_ctime_ns
    assert environment("none", tmp_path / "made").stat().st_ctime_ns == made
    lock.write_text("./no-such-wheel-1.0-py3-none-any.whl --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(BenchError, match="the packages of none cannot be installed"):
        environment("none", tmp_path / "made")


def runs(job, events, *seconds):
    turn = _Turn(job=job, workers=1, events=events)
    turn.runs = [
        Run(
            events=events, seconds=s, seconds_from_start=s, cpu_seconds=s, peak_rss_bytes=1,
            totals=NO_TOTALS,
        )
        for s in seconds
    ]  # fmt: skip
    return turn


def test_ratios_are_those_of_each_round(monkeypatch):
    """The machine was half as fast in the second round, which is no difference between jobs."""
    work = type("Work", (), {"deltas": 0})
    turns = [
        runs(JOBS["segue"], 100, 1, 2, 1),
        runs(Drain(), 100, 0.5, 1, 0.5),
        runs(FaustTables(), 10, 5, 10, 5),
        runs(Pathway(), 10, 1, 2, 2),
    ]
    rows = [_row_of(turn, work) for turn in turns]
    report = _report(Plan(), "cores", rows, {"failed": {}, "skipped": {}})
    assert report["best_peer"] == "pathway"
    segue, _, faust, pathway = report["jobs"]
    assert segue["of_best_peer"] == [10, 10, 20]
    assert segue["of_drain"] == [0.5, 0.5, 0.5]
    assert (segue["cpu_seconds"], segue["cpu_us_per_event"]) == (1, 1e4)
    assert faust["of_best_peer"] == pytest.approx([0.2, 0.2, 0.4])
    assert pathway["of_drain"] == pytest.approx([0.05, 0.05, 0.025])
    assert report["two_workers"] == []
