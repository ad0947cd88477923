"""The examples in docstrings are what the code does."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "streams", "state", "static_layer", "dynamic_layer", "evaluation", "simulation", "agents",
    "console", "segue", "benchmarks",
)  # fmt: skip
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_what_the_code_does(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
