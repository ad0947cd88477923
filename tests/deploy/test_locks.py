"""The locks: what runs is a part of what is developed with, and FAISS is there once."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.image.packages import LOCKS, locked

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=;\[ ]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("name", LOCKS.values())
def test_an_image_has_what_segue_needs_and_nothing_of_development(name):
    extras = PROJECT["project"]["optional-dependencies"]
    needed = names(PROJECT["project"]["dependencies"])
    needed |= set.union(*(names(extras[extra]) for extra in ("avro", "librdkafka", "otel", "ray")))
    found = locked(name).keys()
    instead = {"faiss-gpu"} if name == LOCKS["gpu"] else set()
    assert needed - found == ({"faiss-cpu"} if instead else set())
    assert instead <= found
    development = set.union(*(names(extras[extra]) for extra in ("dev", "docs", "dgl", "evaluate")))
    assert (development - needed) & found <= {"httpx", "pyyaml", "jsonschema"}  # others need them
    assert "pytest" in development


@pytest.mark.parametrize("name", LOCKS.values())
def test_what_runs_has_been_developed_with(name):
    """The same versions; the GPU's own packages are in no other lock."""
    development = locked("requirements.lock")
    for package, versions in locked(name).items():
        if package == "faiss-gpu" or package.endswith("-cu12"):
            assert name == LOCKS["gpu"]
        else:
            assert versions == development[package], package


def test_no_environment_has_faiss_twice():
    for name in ("requirements.lock", *LOCKS.values()):
        assert len({"faiss-cpu", "faiss-gpu", "faiss-gpu-cu12"} & locked(name).keys()) == 1
    # An extra could only add to faiss-cpu.
    for extra in PROJECT["project"]["optional-dependencies"].values():
        assert not any(name.startswith("faiss") for name in names(extra))
    (version,) = locked(LOCKS["gpu"])["faiss-gpu"]
    assert tuple(map(int, version.split("."))) >= (1, 14, 3)


def test_make_lock_writes_every_lock():
    recipe = (ROOT / "Makefile").read_text().split("\nlock:\n")[1].split("\n\n")[0]
    written = set(re.findall(r"-o (\S+)", recipe))
    folders = (".", "clients", "tests/mutants", "benchmarks/peers")
    found = [path for name in folders for path in ROOT.glob(f"{name}/requirements*.lock")]
    assert written == {path.relative_to(ROOT).as_posix() for path in found}


def test_peers_of_the_benchmarks_are_in_environments_of_their_own():
    for peer, package in (("quix-streams", "quixstreams"), ("pathway", "pathway")):
        assert package in locked(f"benchmarks/peers/requirements-{peer}.lock")
        for name in ("requirements.lock", *LOCKS.values()):
            assert package not in locked(name)
