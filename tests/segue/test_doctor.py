"""segue doctor: each fault has a verdict and a fix; without a broker the rest is checked."""

import json

import pytest
from typer.testing import CliRunner

from agents.bundles.catalogue_frame import catalogue_frame
from segue.cli import app
from segue.doctor import GIB, Finding, check_machine, disk_finding, version_findings
from segue.doctor_kafka import (
    clock_finding,
    model_findings,
    topic_findings,
    worker_findings,
)
from segue.settings import load_settings
from segue.text_language import language_finding
from streams import (
    EmbeddedLog,
    Item,
    ModelAnnouncement,
    Record,
    TopicSettings,
    compare_topics,
    create_topics,
    encode,
    topics,
)

NOW = 1_760_000_000_000


def verdicts(findings):
    return [(finding.check, finding.verdict) for finding in findings]


def test_packages_are_held_against_what_segue_requires():
    there = {"segue": "1.0", "torch": "2.9.1+cpu", "rich": "13.0"}
    wanted = ["torch>=2.9", "rich>=14", "typer>=0.20", "fastavro>=1.12; extra == 'avro'"]
    (found,) = version_findings(wanted, there.get)
    assert found.verdict == "fail"
    assert found.found == "rich 13.0 is not >=14; typer is not installed"
    assert "pip install" in found.fix
    (found,) = version_findings(["torch>=2.9", wanted[3]], there.get)
    assert (found.verdict, found.found) == ("ok", "segue 1.0; 1 packages as required")


@pytest.mark.parametrize(("free", "verdict"), [(20, "ok"), (5, "warn"), (0.5, "fail")])
def test_a_disk_that_fills_is_a_warning_before_it_is_a_fault(free, verdict):
    found = disk_finding(round(free * GIB), 100 * GIB, "/data")
    assert found.verdict == verdict
    assert bool(found.fix) == (verdict != "ok")


def test_this_machine_is_as_it_should_be(tmp_path):
    found = check_machine(load_settings(flags=[f"data={tmp_path}"]))
    assert [finding.check for finding in found] == [
        "versions", "data folder", "disk", "store", "text model"
    ]  # fmt: skip
    assert {f.verdict for f in found if f.check != "disk"} == {"ok"}


def test_a_folder_or_a_store_that_cannot_be_written_fails(tmp_path):
    (tmp_path / "file").write_text("x")
    settings = load_settings(flags=[f"data={tmp_path / 'file'}"])
    found = dict(verdicts(check_machine(settings)))
    assert (found["data folder"], found["store"]) == ("fail", "fail")
    assert "disk" not in found


def test_topics_are_missing_differ_or_are_as_they_should_be(tmp_path):
    settings = load_settings(flags=["topics.partitions=4"])
    with EmbeddedLog(tmp_path) as log:
        missing = compare_topics(log, topics(settings.topics))
        assert len(missing.missing) == 14
        assert missing.created == missing.unchanged == ()
        assert log.topics() == {}
        (found,) = topic_findings(missing, settings)
        assert (found.verdict, found.fix) == ("fail", "segue topics create")
        create_topics(log, topics(settings.topics))
        assert verdicts(topic_findings(compare_topics(log, topics(settings.topics)), settings)) == [
            ("topics", "ok")
        ]
        wanted = topics(TopicSettings(partitions=8, events_days=120))
        found = topic_findings(compare_topics(log, wanted), settings)
    grow = [finding for finding in found if "partitions is 4, expected 8" in finding.found]
    assert {(finding.verdict, finding.fix) for finding in grow} == {
        ("fail", "segue topics grow --partitions 8")
    }
    kept = [finding for finding in found if "segue.events: retention.ms" in finding.found]
    assert [finding.verdict for finding in kept] == ["warn"]
    assert kept[0].fix.endswith("--entity-name segue.events --add-config retention.ms=10368000000")


def test_a_log_that_is_shorter_than_the_window_is_a_warning(tmp_path):
    settings = load_settings(flags=["topics.events_days=30"])
    with EmbeddedLog(tmp_path) as log:
        create_topics(log, topics(settings.topics))
        found = topic_findings(compare_topics(log, topics(settings.topics)), settings)
    assert verdicts(found) == [("retention", "warn")]


def announcement(at, created_at):
    said = ModelAnnouncement(
        kind="dynamic", name="d", url="", generation=1, created_at=created_at, metrics={}
    )
    return Record(
        topic="m", partition=0, offset=0, timestamp=at, key=b"dynamic", value=encode(said)
    )


def test_clocks_that_differ_are_found_from_the_records():
    assert clock_finding([], []).verdict == "ok"
    assert clock_finding([], [announcement(NOW + 100, NOW)]).verdict == "ok"
    ahead = clock_finding(["segue.events"], [])
    assert ahead.verdict == "fail"
    assert "segue.events" in ahead.found
    for skew in (60_000, -60_000):
        found = clock_finding([], [announcement(NOW + skew, NOW)])
        assert found.verdict == "warn"
        assert f"differ by {skew / 1000:.1f} s" in found.found


def row(partition=0, lag=0, checkpoint=1.0):
    return {"partition": partition, "lag": lag, "end_offset": 500_000,
            "checkpoint_age_s": checkpoint}  # fmt: skip


def test_workers_that_are_behind_or_write_no_checkpoint_are_warnings():
    assert verdicts(worker_findings({"partitions": [row()], "sources": []})) == [("workers", "ok")]
    found = worker_findings({"partitions": [row(lag=200_000, checkpoint=None)], "sources": []})
    assert verdicts(found) == [("workers", "warn"), ("checkpoints", "warn")]
    assert "segue worker" in found[0].fix


def test_records_of_a_source_that_nothing_reads_are_a_warning():
    partitions = [row(checkpoint=None) | {"end_offset": 0}]
    for lag, verdict in ((0, "ok"), (40_000, "warn")):
        sources = [{"topic": "club.views", "group": "segue-workers", "lag": lag, "fault": ""}]
        found = worker_findings({"partitions": partitions, "sources": sources})
        assert verdicts(found) == [("workers", verdict)]
    assert "40,000 records are not applied yet" in found[0].found


def test_models_are_there_whole_or_named_with_the_command_that_makes_them():
    assert [(f.verdict, f.fix.split(";")[0]) for f in model_findings({}, {})] == [
        ("warn", "segue static build"), ("warn", "segue trainer")
    ]  # fmt: skip
    models = {kind: {"generation": 3, "age_s": 60.0} for kind in ("static", "dynamic")}
    found = model_findings(models, {"dynamic": "bundle x has no manifest"})
    assert verdicts(found) == [("static model", "ok"), ("dynamic model", "fail")]


def test_a_catalogue_in_other_languages_needs_another_text_model(tmp_path):
    settings = load_settings(flags=[f"data={tmp_path}"])
    english = [
        Item(item_id=str(n), item_type="book", title="The history of the garden", language="en")
        for n in range(30)
    ]
    japanese = [
        Item(item_id=f"j{n}", item_type="book", title="庭園の歴史と文化", language="ja")
        for n in range(10)
    ]
    assert language_finding(settings, catalogue_frame(english)).verdict == "ok"
    found = language_finding(settings, catalogue_frame([*english, *japanese]))
    assert found.verdict == "warn"
    assert "does not read 25% of the texts (ja 25%)" in found.found
    assert "static.text.model" in found.fix
    empty = language_finding(settings, catalogue_frame([]))
    assert (empty.verdict, empty.found) == ("ok", "not checked: the catalogue has no items yet")
    # The check writes nothing.
    assert list(tmp_path.iterdir()) == []


def test_the_command_checks_the_rest_without_a_broker(tmp_path):
    words = ["doctor", "--set", f"data={tmp_path}", "--set", "kafka.bootstrap_servers=127.0.0.1:1"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 1
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert found["broker"]["verdict"] == "fail"
    assert "segue kafka start" in found["broker"]["fix"]
    assert found["versions"]["verdict"] == found["store"]["verdict"] == "ok"
    shown = CliRunner().invoke(app, words).stdout
    assert "fail broker" in shown
    assert "fix:" in shown


def test_what_is_wrong_on_the_machine_is_shown_before_the_broker_answers(tmp_path, monkeypatch):
    shown: list[str] = []

    async def asked(settings):
        shown.extend(finding.check for finding in printed)
        return []

    printed: list[Finding] = []
    monkeypatch.setattr("segue.doctor_kafka.check_kafka", asked)
    monkeypatch.setattr("segue.commands.doctor._show", printed.extend)
    words = ["doctor", "--set", f"data={tmp_path}", "--set", "static.text.model=nowhere/at all"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert "text model" in shown
