"""The order of the files of tests, and seeds of the generators that tests share."""

import os
import random
import sys

import numpy as np
import pytest
from hypothesis import settings

# A test's broker and Kafka's own programs live for seconds. Without the second compiler a broker
# starts, and has done a test's work, with half the CPU time.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("segue", deadline=None)
settings.load_profile("segue")

#: A file's tests run in one process; one of these begun last would run alone for minutes. Longest
#: first by the clock; those that mostly wait stand between those that compute.
LONGEST = (
    "simulated/test_nights.py",
    "static_layer/test_on_ray.py",
    "integration/test_demo_kafka.py",
    "integration/test_transport_processes.py",
    "integration/test_documentation_blocks.py",
    "integration/test_stopping.py",
    "console/test_pages.py",
    "state/test_exactness.py",
    "integration/test_rights.py",
    "segue/test_my_shop.py",
    "integration/test_shop_kafka.py",
    "segue/test_demo_shop.py",
    "segue/test_served.py",
    "integration/test_bench_throughput.py",
    "integration/test_transport.py",
    "simulated/test_faults_again.py",
    "segue/test_demo_embedded.py",
    "evaluation/test_models.py",
    "state/test_runs.py",
    "integration/test_served_kafka.py",
    "agents/test_rows_served.py",
    "integration/test_tls.py",
    "integration/test_reauthentication.py",
    "evaluation/test_prequential.py",
    "versions/test_versions.py",
    "segue/test_evaluate.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by LONGEST; the others stay in the order in which they were found."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((n for n, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the generators that tests share: torch draws a seed of its own for each process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
