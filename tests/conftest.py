"""The order of the files: those that take longest, or mostly wait, begin first."""

import os

import pytest
from hypothesis import settings

# A test's broker and Kafka's own programs live for seconds. Without the second compiler a broker
# starts, and has done a test's work, with half the CPU time.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("segue", deadline=None)
settings.load_profile("segue")

#: A file's tests run in one process; one of these begun last would run alone for minutes. Those
#: that start many processes do not begin together.
LONGEST = (
    "integration/test_documentation_blocks.py",
    "evaluation/test_models.py",
    "state/test_runs.py",
    "integration/test_demo_kafka.py",
    "static_layer/test_on_ray.py",
    "integration/test_stopping.py",
    "evaluation/test_prequential.py",
    "segue/test_served.py",
    "segue/test_demo_embedded.py",
    "segue/test_demo_shop.py",
    "segue/test_my_shop.py",
    "integration/test_rights.py",
    "integration/test_transport_processes.py",
    "console/test_pages.py",
    "versions/test_versions.py",
    "segue/test_evaluate.py",
    "state/test_exactness.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by LONGEST; the others stay in the order in which they were found."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((n for n, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)
