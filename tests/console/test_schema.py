"""Schemathesis attacks the API by its own schema, for a bounded number of requests."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from console.policies_api import PATHS as POLICY_PATHS
from console.writes_api import PATHS
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, Served, make_world

EXAMPLES = int(os.environ.get("API_EXAMPLES", "4"))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, items, bundles) -> Iterator[Served]:
    """A world of its own, since users are erased and bundles are pinned here."""
    made = make_world(tmp_path_factory.mktemp("attacked"), items, bundles)
    made.announce(bundles[0])
    with ready(made) as found:
        yield found


def excluded(path: str) -> list:
    """What the schema of a record cannot say, rows are refused for; a good row beside is taken."""
    by_row = [positive_data_acceptance, negative_data_rejection]
    # Neither can a schema say which texts are policies.
    by_text = [positive_data_acceptance] if path in POLICY_PATHS else []
    return by_row if path in PATHS else by_text


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_what_the_schema_says(attacked: Served, mode: GenerationMode):
    schema = schemathesis.openapi.from_url(f"{attacked.address}/v1/openapi.json")
    found = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        found += 1

        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def attack(case):
            case.call_and_validate(headers=HEADERS, excluded_checks=excluded(case.operation.path))

        # What takes no input at all cannot be given a wrong one.
        with contextlib.suppress(Unsatisfiable):
            attack()
    assert found >= 12
