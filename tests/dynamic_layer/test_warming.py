"""Kernels are compiled before they are needed: lists of a head and weights compile no more."""

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

def made_histories():
    from dynamic_layer.counts.moments import Histories
    return Histories(indptr=np.array([0, 2]), item=np.arange(2), age_days=np.ones(2, np.float32))

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

# The weights of the static job, and a trainer's, which adds counts of its replay.
import numpy as np
from types import SimpleNamespace as Columns
from dynamic_layer.counts.state_weights import count_matrix, transition_matrix, weights_of
from dynamic_layer.counts.item_weights import capped
from dynamic_layer.settings import RankingSettings

keys = np.arange(9, dtype=np.uint64)
one, other = (places.astype(np.int32) for places in np.triu_indices(9))
counts = Columns(item_keys=keys, left=one, right=other, count=np.full(45, 9, np.int32))
steps = Columns(item_keys=keys, source=one, target=other, count=np.ones(45, np.float32))
together, following = count_matrix(counts, keys), transition_matrix(steps, keys)
for weights in (
    weights_of({"together": capped(together, 5), "following": following}, RankingSettings()),
    weights_of({"together": together + capped(together, 5), "following": following + following},
               RankingSettings()),
):
    assert all(matrix.indices.dtype == matrix.indptr.dtype == np.int32 and matrix.nnz
               for matrix in weights.values())
    neighbours.neighbours_of(made_histories(), weights, [1.0])
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
