"""What is installed in an image, against the lock that it is made from."""

import json
import re
from pathlib import Path

from tests.image.container import Failed, container

__all__ = ["LOCKS", "check_packages", "locked"]

ROOT = Path(__file__).parents[2]
LOCKS = {"cpu": "requirements-runtime.lock", "gpu": "requirements-gpu.lock"}
#: In no lock: this project and what the environment itself begins with.
OWN = {"segue", "pip"}
#: Left out of the CPU image by the Dockerfile.
LEFT_OUT = {"cpu": {"triton"}, "gpu": set()}
PYTHON = "/opt/segue/venv/bin/python"


def locked(name: str) -> dict[str, set[str]]:
    """Versions by package of a lock; several where Python versions need different ones."""
    found: dict[str, set[str]] = {}
    text = (ROOT / name).read_text()
    for package, version in re.findall(
        r"^([a-z0-9-]+)(?:\[[^]]*])?==([^ ;\\]+)", text, re.MULTILINE
    ):
        found.setdefault(package, set()).add(version)
    return found


def check_packages(target: str) -> int:
    """Return how many packages a target's image has; raise Failed unless they are the lock's."""
    with container(target, f"packages-{target}", {}, {}) as where:
        listed = json.loads(where.output(PYTHON, "-m", "pip", "list", "--format=json"))
        vectors = where.output(
            PYTHON, "-c", "import faiss; print(hasattr(faiss, 'StandardGpuResources'))"
        ).strip()
    installed = {re.sub(r"[-_.]+", "-", p["name"]).lower(): p["version"] for p in listed}
    lock = locked(LOCKS[target])
    others = installed.keys() - lock.keys() - OWN
    if others:
        raise Failed(f"{target}: not in {LOCKS[target]}: {', '.join(sorted(others))}")
    for package in lock.keys() - LEFT_OUT[target] - {"colorama"}:  # colorama: Windows alone
        if installed.get(package) not in lock[package]:
            raise Failed(f"{target}: {package} is {installed.get(package)}, not {lock[package]}")
    if vectors != str(target == "gpu"):
        raise Failed(f"{target}: FAISS with CUDA: {vectors}")
    return len(installed)
