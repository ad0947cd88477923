"""Samples of a role's stacks as shares of parts; a role of a benchmark that is sampled."""

import shutil
import sys
from collections import Counter

import pytest

from benchmarks import roles_profile
from benchmarks.roles_profile import ROOT, ProfileError, Role, page_of, parts_of, run

LOOP = "run_forever (asyncio/base_events.py:607)"


def test_a_sample_counts_for_the_innermost_frame_of_our_own():
    decode = "decode (streams/canonical.py:30)"
    apply = f"apply (agents/ingest.py:9);{decode};loads ({ROOT}/x/json.py:1)"
    stacks = Counter({f"{LOOP};{apply}": 3, f"{LOOP};apply (agents/ingest.py:9)": 1})
    assert parts_of(stacks) == [
        {"part": "streams/canonical", "share": 0.75, "function": "decode"},
        {"part": "agents/ingest", "share": 0.25, "function": "apply"},
    ]


def test_folders_are_parts_and_their_top_function_is_named():
    search, rank = "search (dynamic_layer/index/hits.py:1)", "rank (dynamic_layer/head/x.py:1)"
    wide = "wide (dynamic_layer/index/hits.py:7)"
    found = parts_of(Counter({search: 2, wide: 5, rank: 3}))
    assert [(part["part"], part["share"], part["function"]) for part in found] == [
        ("dynamic_layer/index", 0.7, "wide"),
        ("dynamic_layer/head", 0.3, "rank"),
    ]


def test_samples_without_a_frame_of_ours_count_for_the_library_and_imports_for_the_start():
    package = f"{sys.prefix}/lib/python3.11/site-packages/aiokafka/conn.py"
    found = parts_of(
        Counter({f"{LOOP};read ({package}:5)": 1, "_load (<frozen importlib._bootstrap>:1)": 1})
    )
    assert {part["part"] for part in found} == {"library aiokafka", "start (imports)"}
    assert parts_of(Counter({"": 1}))[0]["part"] == "threads without Python code"


def test_what_the_benchmark_itself_does_is_left_out():
    bare = "train (dynamic_layer/x/y.py:1);bare (benchmarks/trainer.py:9);mm (torch/a.py:1)"
    ours = "bare (benchmarks/trainer.py:9);step (dynamic_layer/training/learner.py:1)"
    found = parts_of(Counter({bare: 9, ours: 1}))
    assert [(part["part"], part["share"]) for part in found] == [("dynamic_layer/training", 1.0)]


def test_threads_that_wait_are_left_out():
    waits = f"start (streams/consumer_thread.py:9);{LOOP};select (selectors.py:468)"
    found = parts_of(Counter({waits: 99, f"{LOOP};apply (agents/ingest.py:9)": 1}))
    assert [(part["part"], part["share"]) for part in found] == [("agents/ingest", 1.0)]


def test_an_unknown_role_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ProfileError, match=r"no such role: nothing; there are .*ingest"):
        run(["nothing"], tmp_path / "profile.json")


def test_without_py_spy_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: None)
    with pytest.raises(ProfileError, match="pip install py-spy"):
        run(["trainer"], tmp_path / "profile.json")


SPY = """#!{python}
import pathlib, sys
words = sys.argv
file = pathlib.Path(words[words.index("--output") + 1])
raw = words[words.index("--format") + 1] == "raw"
file.write_text("step (dynamic_layer/training/learner.py:1) 4" if raw else "<svg/>")
"""


def test_a_role_is_sampled_until_its_benchmark_ends(tmp_path, monkeypatch):
    spy = tmp_path / "py-spy"
    spy.write_text(SPY.format(python=sys.executable))
    spy.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: str(spy))
    role = Role(command=("trainer", "--help"), process=("bench", "trainer"))
    monkeypatch.setitem(roles_profile.ROLES, "trainer", role)
    report = run(["trainer"], tmp_path / "profile.json")
    assert report["roles"]["trainer"]["samples"] == 4
    assert (tmp_path / "profile-trainer.svg").read_text() == "<svg/>"
    assert "| dynamic_layer/training | 100.0% | `step` |" in page_of(report)


def test_a_benchmark_that_fails_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_args, **_named: sys.executable)
    role = Role(command=("trainer", "--wrong"), process=("bench", "trainer"))
    monkeypatch.setitem(roles_profile.ROLES, "trainer", role)
    with pytest.raises(ProfileError, match="No such option"):
        run(["trainer"], tmp_path / "profile.json")
