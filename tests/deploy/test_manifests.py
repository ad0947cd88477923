"""Manifests are what Kubernetes accepts, offline, and agree with one another and with the code."""

import os
import re
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kubernetes_validate
import pytest
from typer.testing import CliRunner
from yaml import safe_load, safe_load_all

from segue.cli import app
from segue.settings import load_settings
from tests.image.packages import LOCKS

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
    assert pod["enableServiceLinks"] is False
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


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def test_grace_is_longer_than_what_is_to_be_done_in_it():
    """And is the same in Kubernetes, in compose and on the page."""
    settings = load_settings()
    written = re.search(r"(\d+) seconds of grace", (DEPLOY.parent / "docs/deploy.md").read_text())
    grace = {pods()[name]["terminationGracePeriodSeconds"] for name in ("worker", "trainer")}
    compose = safe_load((DEPLOY / "compose" / "compose.yml").read_text())["services"]
    roles = [compose[name] for name in ("worker", "trainer", "static", "console")]
    assert {*grace, *(seconds(role["stop_grace_period"]) for role in roles)} == {int(written[1])}
    assert min(grace) > settings.worker.rebalance_timeout_s


def test_compose_knows_whether_each_service_is_healthy():
    """By the same address that Kubernetes asks, with as much time for the first answer."""
    services = safe_load((DEPLOY / "compose" / "compose.yml").read_text())["services"]
    once = {name for name, service in services.items() if service.get("restart") == "on-failure"}
    assert once == {"topics"}
    for name in services.keys() - once:
        health = services[name]["healthcheck"]
        assert health["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= health.keys()
        container = pods().get(name, {}).get("containers", [{}])[0]
        probe = container.get("startupProbe")
        if probe is None:
            continue
        port = container["ports"][0]["containerPort"]
        path = container["livenessProbe"]["httpGet"]["path"]
        assert f"http://127.0.0.1:{port}{path}" in health["test"][-1]
        least = min(300, probe["periodSeconds"] * probe["failureThreshold"])
        assert seconds(health["start_period"]) >= least


def test_health_checks_of_compose_ask_ports_that_are_served():
    services = safe_load((DEPLOY / "compose" / "compose.yml").read_text())["services"]
    for name in ("worker", "trainer", "static", "console"):
        words = " ".join(
            [*services[name].get("entrypoint", ()), *services[name].get("command", ())]
        )
        asked = re.search(r"127\.0\.0\.1:(\d+)", services[name]["healthcheck"]["test"][-1])[1]
        assert re.search(rf"--(metrics-)?port {asked}\b", words)


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


def stages() -> dict[str, str]:
    """Text of the Dockerfile's stages by name."""
    text = (DEPLOY / "Dockerfile").read_text()
    return dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.M | re.S))


def test_the_image_runs_as_nobody_special():
    """`make deploy-test` builds and runs it; this is what can be read."""
    text = (DEPLOY / "Dockerfile").read_text()
    for target, lock in LOCKS.items():
        assert re.search(rf"^FROM runtime AS {target}$", text, re.MULTILINE)
        assert lock in stages()[f"{target}-packages"]
        assert "--require-hashes" in stages()[f"{target}-packages"]
        assert "requirements.lock" not in stages()[f"{target}-packages"]
    runtime = stages()["runtime"]
    assert "USER 10001:10001" in runtime
    assert "USER root" not in text
    owned = re.search(r"chown segue:segue (.*)", runtime)[1].split()
    mounted = {
        mount["mountPath"]
        for pod in pods().values()
        for mount in pod["containers"][0]["volumeMounts"]
    }
    assert set(owned) == mounted - {"/tmp", "/etc/segue/segue.toml", "/etc/segue/kafka"}  # noqa: S108


def image_with_a_kernel(image: Path) -> Path:
    for folder in (image / "kernels" / "state_1", image / "venv" / "bin"):
        folder.mkdir(parents=True)
    (image / "kernels" / "state_1" / "kernel.nbi").write_text("compiled")
    program = image / "venv" / "bin" / "segue"
    program.write_text('#!/bin/sh\necho "$NUMBA_CACHE_DIR"; for word; do echo "$word"; done\n')
    program.chmod(0o755)
    return image


def run_as_in_the_image(image: Path, scratch: Path) -> str:
    """Run the image's `segue` with the folders of a test instead of the image's."""
    script = (DEPLOY / "image" / "segue").read_text().replace("/opt/segue", str(image))
    done = subprocess.run(
        ["sh", "-c", script, "segue", "one", "two words"],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(scratch)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_segue_in_the_image_finds_its_kernels_where_it_may_write(tmp_path):
    image, scratch = image_with_a_kernel(tmp_path / "image"), tmp_path / "scratch"
    scratch.mkdir()
    cache = scratch / "segue-kernels"
    for _ in range(2):
        assert run_as_in_the_image(image, scratch) == f"{cache}\none\ntwo words\n"
        assert (cache / "state_1" / "kernel.nbi").read_text() == "compiled"
        assert [path.name for path in scratch.iterdir()] == ["segue-kernels"]
    (cache / "state_1" / "more.nbi").touch()
    run_as_in_the_image(image, scratch)
    assert (cache / "state_1" / "more.nbi").exists(), "what was compiled since then stays"


def test_starts_at_the_same_time_leave_one_copy_of_the_kernels(tmp_path):
    image, scratch = image_with_a_kernel(tmp_path / "image"), tmp_path / "scratch"
    scratch.mkdir()
    with ThreadPoolExecutor(6) as starts:
        list(starts.map(lambda _: run_as_in_the_image(image, scratch), range(12)))
    assert [path.name for path in scratch.iterdir()] == ["segue-kernels"]
    assert [path.name for path in (scratch / "segue-kernels").iterdir()] == ["state_1"]


@pytest.mark.parametrize("name", ["worker", "trainer"])
def test_liveness_is_not_asked_of_the_metrics(name):
    """Metrics are answered from a thread that goes on when the role hangs."""
    assert pods()[name]["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/live"
