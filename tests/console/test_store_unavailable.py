"""The console answers 503 where it needs an artifact store, or a log, that fails."""

import pytest
from aiokafka.errors import KafkaConnectionError
from fastapi import FastAPI
from starlette.testclient import TestClient

from console.problems import PROBLEM_JSON, handle_problems
from state import StoreUnavailable
from streams import AdminError


def test_a_request_that_needs_the_store_is_to_be_repeated():
    app = FastAPI()
    handle_problems(app)

    @app.get("/bundles")
    def bundles() -> None:
        raise StoreUnavailable("the network is down, seen from 10.0.0.1")

    answer = TestClient(app).get("/bundles")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert int(answer.headers["retry-after"]) > 0
    assert "artifact store" in answer.json()["detail"]
    assert "10.0.0.1" not in answer.text


@pytest.mark.parametrize("error", [AdminError, KafkaConnectionError])
def test_a_request_that_needs_the_log_is_to_be_repeated(error):
    app = FastAPI()
    handle_problems(app)

    @app.delete("/user")
    def erase() -> None:
        raise error("no Kafka broker answers at 10.0.0.1:9092")

    answer = TestClient(app).delete("/user")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert int(answer.headers["retry-after"]) > 0
    assert "the log" in answer.json()["detail"]
    assert "10.0.0.1" not in answer.text
