"""New items are encoded as the bundle's were, or not at all."""

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agents.bundles.models import Models
from agents.bundles.text_encoders import TextEncoders
from dynamic_layer import NewItems
from state import ArtifactStore
from static_layer import TextModelError
from streams import Item


class Encoder:
    """An encoder of one backend; `others` are those that it can become."""

    def __init__(self, name: str, others: tuple[str, ...] = ()) -> None:
        self.fingerprint, self.others = name, others
        self.settings = SimpleNamespace(model=name, backend=name)
        self.encoded: list[str] = []

    def matching(self, recipe: dict[str, str]) -> "Encoder":
        wanted = recipe["fingerprint"]
        if wanted == self.fingerprint:
            return self
        if wanted not in self.others:
            raise TextModelError("set static.text.model")
        return Encoder(wanted)

    def encode(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        self.encoded += texts
        return np.full((len(texts), 2), 1.0, np.float32)


class Recommender:
    """Knows nothing; keeps what is added."""

    def __init__(self, fingerprint: str) -> None:
        recipe = {"model": fingerprint, "backend": fingerprint, "fingerprint": fingerprint}
        self.bundle = SimpleNamespace(manifest={"text": recipe}, generation=1, made=(1, 1))
        self.added: list[str] = []

    def knows(self, keys: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.zeros(len(keys), bool)

    def remove_items(self, keys: object) -> None: ...

    lasting = knows

    def add_items(self, items: NewItems) -> None:
        self.added += items.item_ids

    def serve_rows(self, rows: None) -> None:
        assert rows is None, "no row has changed"


def models_of(tmp_path: Path, own: Encoder, served: Recommender) -> Models:
    store = ArtifactStore(str(tmp_path / "store"))
    models = Models(store, tmp_path, lambda: own, lambda: 0)  # type: ignore[arg-type, return-value]
    models._fetch = lambda _: served  # type: ignore[method-assign, assignment, return-value]
    return models


def waiting(models: Models) -> None:
    models._launched.take([Item(item_id="new", item_type="podcast", title="New")])


async def test_new_items_are_encoded_by_the_backend_of_the_bundle(tmp_path: Path) -> None:
    own, served = Encoder("f32", ("int8",)), Recommender("int8")
    models = models_of(tmp_path, own, served)
    waiting(models)
    assert await models.load("b")
    assert served.added == ["new"]
    assert models.text_model == "int8"
    assert own.encoded == []


async def test_without_the_bundles_text_model_new_items_wait_and_no_text_is_searched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, served = Encoder("f32"), Recommender("another")
    models = models_of(tmp_path, own, served)
    waiting(models)
    with caplog.at_level(logging.ERROR, "agents"):
        assert await models.load("b")
    assert models.serving == "b"
    assert served.added == []
    assert "static.text.model" in caplog.text
    with pytest.raises(TextModelError):
        await models.encode(["a text"])
    models._fetch = lambda _: Recommender("f32")  # type: ignore[method-assign, assignment, return-value]
    assert await models.load("c")
    assert models.recommender.added == ["new"]  # type: ignore[union-attr]


def test_bundles_of_earlier_versions_are_taken_by_the_encoder_of_the_settings() -> None:
    own = Encoder("f32")
    assert TextEncoders(lambda: own).of({}) is own  # type: ignore[arg-type, return-value]


def test_a_missing_model_folder_stops_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> Encoder:
        raise TextModelError("text model folder /x does not exist")

    with caplog.at_level(logging.ERROR, "agents"):
        assert TextEncoders(missing).of({}) is None  # type: ignore[arg-type]
    assert "/x does not exist" in caplog.text
