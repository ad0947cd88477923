"""A search is answered from the bundle whose text model encoded it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from console import serving as serving_module
from console.problems import handle_problems
from console.serving import Serving
from static_layer import TextModelError


class Models:
    """Serves one bundle, then, while the first text is being encoded, another one."""

    text_model = "first"
    recommender = SimpleNamespace()

    def __init__(self) -> None:
        self.encoded_by: list[str] = []

    async def encode(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        self.encoded_by.append(self.text_model)
        vectors = np.full((len(texts), 1), len(self.encoded_by), np.float32)
        self.text_model = "second"
        return vectors

    async def ask(self, question: Any) -> tuple[int, Any]:
        return len(self.encoded_by), question(self.recommender)


async def test_a_text_is_encoded_again_when_a_bundle_of_another_model_comes(monkeypatch) -> None:
    models, asked = Models(), []

    def search_text(_: object, vector: np.ndarray, *__: object) -> SimpleNamespace:  # type: ignore[type-arg]
        asked.append(vector.tolist())
        return SimpleNamespace(item_types=[], item_ids=[], scores=np.zeros(0, np.float32))

    monkeypatch.setattr(serving_module, "search_text", search_text)
    serving = Serving(models, lambda: 0, batch=1, waiting=1)  # type: ignore[arg-type]
    assert await serving.search("a text", [], 10) == (2, [])
    assert models.encoded_by == ["first", "second"]
    assert asked == [[2.0]]


def test_a_search_without_the_bundles_text_model_is_answered_with_503() -> None:
    app = FastAPI()
    handle_problems(app)

    @app.get("/search")
    async def search() -> None:
        raise TextModelError("set static.text.model")

    found = TestClient(app, raise_server_exceptions=False).get("/search")
    assert found.status_code == 503
    assert "static.text.model" in found.json()["detail"]
