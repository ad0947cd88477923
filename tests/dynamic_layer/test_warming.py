"""Kernels are compiled before they are needed: lists of a head compile nothing more."""

import subprocess
import sys

import pytest

# In a process of its own: here other tests have compiled what they needed.
SCRIPT = """
import numba
from dynamic_layer import ListSettings, Recommender, compile_list_kernels
from dynamic_layer.counts import item_weights, neighbours
from dynamic_layer.head import candidates, features, list_scores
from dynamic_layer.index import hits

def compiled():
    return {
        (module.__name__, name, signature)
        for module in (item_weights, neighbours, candidates, features, list_scores, hits)
        for name, kernel in vars(module).items()
        if isinstance(kernel, numba.core.registry.CPUDispatcher)
        for signature in kernel.signatures
    }

compile_list_kernels()
before = compiled()
from tests.dynamic_layer.headed import NOW_MS, headed
from tests.dynamic_layer.worlds import make_user
made = headed()
assert made.bundle.head is not None
users = [make_user(made.static, [row, row + 1], now_ms=NOW_MS) for row in range(3)]
asked = [ListSettings(name="one", item_types=(made.bundle.types[0],)), ListSettings(name="mix")]
Recommender(made.bundle).recommend(users, asked, NOW_MS)
Recommender(made.bundle).recommend(users[:1], asked, NOW_MS)
print(*sorted(map(str, compiled() - before)), sep="\\n")
assert before
"""


@pytest.mark.timeout(1_200)
def test_lists_compile_nothing_that_was_not_compiled_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip()
