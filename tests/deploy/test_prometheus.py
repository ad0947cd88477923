"""Alert rules and dashboard speak of metrics that exist, and the rules do what they say."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from yaml import dump, safe_load

from segue.metrics_page import registries
from tests.deploy.test_manifests import BASE, documents

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "segue.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def families():
    return [family for registry in registries().values() for family in registry.collect()]


def known() -> set[str]:
    """Every name that a query may use."""
    endings = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_count", "_sum"),
        "gauge": ("",),
    }
    return {family.name + end for family in families() for end in endings[family.type]}


def queries() -> list[str]:
    rules = [r["expr"] for group in safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return rules + [target["expr"] for panel in panels for target in panel.get("targets", ())]


@pytest.mark.parametrize("query", queries())
def test_queries_use_metrics_that_exist(query):
    names = set(re.findall(r"\bsegue_\w+", query))
    assert names - known() == set()
    assert names or query.startswith("up{")


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(queries())
    missing = {f.name for f in families() if f.name not in shown}
    assert missing == set()


def test_names_follow_the_conventions():
    for family in families():
        assert family.name.startswith("segue_")
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if "timestamp" in family.name or "duration" in family.name:
            assert family.name.endswith("_seconds")


def test_every_alert_has_a_page_in_the_runbook():
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    titles = set(re.findall(r"^## (\w+)$", runbook, re.MULTILINE))
    rules = [r for group in safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    assert {rule["alert"] for rule in rules} == titles
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("name", ["prometheus", "kubernetes"])
def test_jobs_that_the_rules_name_are_scraped(name):
    """Else a rule on `up` would never fire there."""
    asked = {job for query in queries() for job in re.findall(r'job="([\w-]+)"', query)}
    scraped = safe_load(RULES.with_name(f"{name}.yml").read_text())["scrape_configs"]
    jobs = {job["job_name"] for job in scraped}
    for rule in (r for job in scraped for r in job.get("relabel_configs", ())):
        if rule.get("target_label") == "job":
            kept = {"StatefulSet", "CronJob"}
            names = {d["metadata"]["name"] for d in documents(BASE) if d["kind"] in kept}
            jobs |= {rule["replacement"].replace("$1", name) for name in names}
    assert asked
    assert asked - jobs == set()


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus", "kubernetes"])
def test_promtool_accepts_what_is_scraped(name, tmp_path):
    config = safe_load(RULES.with_name(f"{name}.yml").read_text())
    for job in config["scrape_configs"]:  # Debian's build knows no Kubernetes
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = [{"targets": ["10.0.0.1:9101"]}]
    file = tmp_path / "prometheus.yml"
    file.write_text(dump(config))
    done = subprocess.run(
        [PROMTOOL, "check", "config", "--syntax-only", file],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_rules_and_they_fire_when_they_should():
    tests = RULES.with_name("alerts_test.yml")
    for command in (["check", "rules", RULES], ["test", "rules", tests]):
        done = subprocess.run([PROMTOOL, *command], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested():
    tests = safe_load(RULES.with_name("alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }  # fmt: skip
    rules = [r for group in safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    assert fired == {rule["alert"] for rule in rules}
