"""Kernels are compiled before they are needed: a graph and a training compile no more."""

import subprocess
import sys

import pytest

# In a process of its own: here other tests have compiled what they needed.
SCRIPT = """
import numba
from static_layer import compile_graph_kernels, gather_max, graph

def compiled():
    return {
        (name, signature)
        for module in (gather_max, graph)
        for name, kernel in vars(module).items()
        if isinstance(kernel, numba.core.registry.CPUDispatcher)
        for signature in kernel.signatures
    }

compile_graph_kernels()
before = compiled()
from tests.static_layer.conftest import make_community
from static_layer.settings import GraphSettings, HGNNSettings, TrainSettings
from static_layer.train import train

community = make_community()
merged = community.merged
built = graph.build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=8))
train(built, community.text, HGNNSettings(hidden=8, output=8), TrainSettings(epochs=1), seed=0)
print(*sorted(map(str, compiled() - before)), sep="\\n")
assert before
"""


@pytest.mark.timeout(600)
def test_a_static_job_compiles_nothing_that_was_not_compiled_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip()
