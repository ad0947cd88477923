"""Manifests are what Kubernetes accepts, offline, and agree with one another and with the code."""

import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from typer.testing import CliRunner
from yaml import safe_load, safe_load_all

from segue.cli import app
from segue.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE, GPU = DEPLOY / "kubernetes" / "base", DEPLOY / "kubernetes" / "gpu"
VERSION = "1.31"


def documents(folder: Path) -> list[dict]:
    names = safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [d for name in names for d in safe_load_all((folder / name).read_text())]


def pods() -> dict[str, dict]:
    """Pod specs of the base by name."""
    found = {}
    for document in documents(BASE):
        if document["kind"] == "StatefulSet":
            found[document["metadata"]["name"]] = document["spec"]["template"]["spec"]
        if document["kind"] == "CronJob":
            job = document["spec"]["jobTemplate"]["spec"]
            found[document["metadata"]["name"]] = job["template"]["spec"]
    return found


@pytest.mark.parametrize(
    "document", documents(BASE), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_kubernetes_accepts_it(document):
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_every_file_of_the_base_is_used():
    listed = safe_load((BASE / "kustomization.yaml").read_text())
    used = {*listed["resources"], *listed["configMapGenerator"][0]["files"], "kustomization.yaml"}
    assert {path.name for path in BASE.iterdir()} == used


@pytest.mark.parametrize("name", ["worker", "trainer", "static", "console"])
def test_pods_are_restricted_and_bounded(name):
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


@pytest.mark.parametrize("name", ["worker", "trainer", "static", "console"])
def test_commands_and_their_options_exist(name):
    args = pods()[name]["containers"][0]["args"]
    words = [word for word in args if not word.startswith("-")][: 2 if args[0] == "static" else 1]
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    for option in (word for word in args if word.startswith("--")):
        assert option in plain


def test_settings_of_the_manifests_are_settings():
    load_settings(
        BASE / "segue.toml",
        {"SEGUE_KAFKA__SASL_USERNAME": "worker", "SEGUE_KAFKA__SASL_PASSWORD": "secret"},
    )
    assert tomllib.loads((BASE / "segue.toml").read_text())["data"] == "/data"
    compose = safe_load((DEPLOY / "compose" / "compose.yml").read_text())
    load_settings(environment=compose["services"]["worker"]["environment"])


def test_grace_is_longer_than_what_is_to_be_done_in_it():
    settings = load_settings()
    grace = pods()["worker"]["terminationGracePeriodSeconds"]
    assert grace > settings.worker.rebalance_timeout_s


def test_a_disruption_takes_one_at_a_time():
    budgets = {
        d["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]: d["spec"]
        for d in documents(BASE) if d["kind"] == "PodDisruptionBudget"
    }  # fmt: skip
    assert budgets["worker"]["maxUnavailable"] == 1
    assert budgets["console"]["minAvailable"] == 1


def test_patches_for_gpus_meet_what_they_patch():
    listed = safe_load((GPU / "kustomization.yaml").read_text())
    base = {(d["kind"], d["metadata"]["name"]) for d in documents(BASE)}
    for patch in listed["patches"]:
        document = safe_load((GPU / patch["path"]).read_text())
        assert (document["kind"], document["metadata"]["name"]) in base
        text = (GPU / patch["path"]).read_text()
        assert "nvidia.com/gpu" in text


def test_ports_agree():
    """Of probes, services, policies and Prometheus."""
    services = {
        d["metadata"]["name"]: d["spec"]["ports"][0]["port"]
        for d in documents(BASE) if d["kind"] == "Service"
    }  # fmt: skip
    declared = {
        name: pod["containers"][0]["ports"][0]["containerPort"]
        for name, pod in pods().items() if "ports" in pod["containers"][0]
    }  # fmt: skip
    assert services == declared
    scraped = safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    by_compose = {
        job["dns_sd_configs"][0]["names"][0]: job["dns_sd_configs"][0]["port"] for job in scraped
    }
    for name, port in declared.items():
        assert by_compose[name] == port


def test_the_image_runs_as_nobody_special():
    text = (DEPLOY / "Dockerfile").read_text()
    for target in ("cpu", "gpu"):
        assert re.search(rf"^FROM runtime AS {target}$", text, re.MULTILINE)
    runtime = text.split("FROM base AS runtime")[1]
    assert "USER 10001:10001" in runtime
    assert "USER root" not in runtime
    assert "require-hashes" in text
