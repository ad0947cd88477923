"""The shop of the demo: what its consumer counts, its policy, and the whole run in one process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from agents.policy_text import parse_policy
from segue.demo.shop import POLICY, broken
from segue.demo.shop_lists import IN_FORCE_MS, Removal, RuleFigures, WrittenList
from simulation import World, WorldSettings
from simulation.catalogue import with_attributes
from tests.waiting import LONG_S

A, B, C = (("book", name) for name in "abc")
SMALL = [
    "--world-items", "200", "--world-users", "400", "--world-events", "12000",
    "--live-seconds", "6", "--live-rate", "60",
]  # fmt: skip


def test_lists_count_from_a_second_after_the_event():
    lists = [
        WrittenList(900, "u", (A, B)), WrittenList(1_400, "u", (A,)), WrittenList(2_000, "u", (A,)),
        WrittenList(2_001, "u", (B,)), WrittenList(3_000, "u", (A, C)),
    ]  # fmt: skip
    found = Removal(what="takedown", item=A, title="", at_ms=1_000)
    found.count(lists[:4])
    assert (found.before, found.checked, found.violations, found.last_ms) == (1, 1, 0, 1_000)
    found.count(lists)
    assert (found.checked, found.violations, found.last_ms) == (2, 1, 2_000)
    never = Removal(what="takedown", item=C, title="", at_ms=5_000)
    never.count(lists)
    assert (never.before, never.checked, never.last_ms) == (1, 0, None)
    report = {"removals": [found.figures(), never.figures()], "rules": {"broken": 2}}
    assert broken(report) == [
        "takedown: book a: 1 lists hold it a second later",
        "takedown: book c: nothing to check, no list before it or none after it",
        "lists break the policy in 2 cases",
    ]


def test_rules_are_counted_by_list():
    items = {
        A: {"stock": 1, "creator": "x", "markets": ["DE"]},
        B: {"stock": 0, "creator": "x", "markets": ["DE", "US"]},
        C: {"stock": 2, "creator": "y", "markets": ["US"]},
    }
    since = 100 + IN_FORCE_MS
    lists = [WrittenList(since + 1, "u", held) for held in ((A, B), (A,), (A, C))]
    early = [WrittenList(since, "u", (A, B, C))]  # it was being made when the policy came
    found = RuleFigures.of(early + lists, 100, items, {"u": "DE"}, most=1)
    assert (found.lists, found.other_market, found.sold_out, found.creator) == (3, 1, 1, 1)
    assert found.broken == 3


def test_products_have_attributes_that_follow_from_the_seed():
    world = WorldSettings(items=400, users=50, events=500, reserve=0)
    catalogue = World(world, 3).catalogue()
    made = with_attributes(catalogue, world.markets, 3)
    assert made.equals(with_attributes(catalogue, world.markets, 3))
    assert not made.equals(with_attributes(catalogue, world.markets, 4))
    rows = made["attributes"].to_pylist()
    assert pa.types.is_struct(made["attributes"].type)
    assert 10 < sum(row["stock"] == 0 for row in rows) < 90
    assert all(5 <= row["price"] <= 100 and row["markets"] for row in rows)
    assert 50 < len({row["creator"] for row in rows}) <= 100


def test_the_page_leads_to_the_packaged_policy():
    assert parse_policy(POLICY.read_text()).list_name == "*"
    docs = Path(__file__).parents[2] / "docs"
    [link] = re.findall(r"\]\((\S+/shop\.toml)\)", (docs / "policies.md").read_text())
    assert (docs / link).resolve() == POLICY.resolve()


def test_the_shop_on_the_embedded_log(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
    done = subprocess.run(
        [sys.executable, "-m", "segue", "demo", "--shop", "--log", "embedded", *SMALL, "--json",
         "--set", f"data={tmp_path}"],
        capture_output=True, text=True, check=False, env=environment, timeout=LONG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "shop-report.json").read_text())
    assert [one["what"] for one in report["removals"]] == ["stock runs out", "takedown"]
    for one in report["removals"]:
        assert one["before"] > 0
        assert one["checked"] > 0
        assert one["violations"] == 0
    assert 0 < report["rules"]["lists"] <= report["live"]["lists"]
    assert report["rules"]["broken"] == 0
    assert report["policy"]["version"] == 1
