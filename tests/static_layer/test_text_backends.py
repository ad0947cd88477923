"""Backends of the text model: the same vectors, or vectors that never stand beside others."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from static_layer import text as text_module
from static_layer import text_onnx
from static_layer.settings import TextSettings
from static_layer.text import TextEncoder
from static_layer.text_model import TextModelError
from static_layer.text_onnx import OnnxTexts
from static_layer.text_static import token_vectors

TEXTS = ["w1 w2 w3", "w4", "w1 w2 w3 w5", "", "w9 w8 w7 w6 w5 w4 w3 w2 w1", "w1 w2 w3", "w50 w51"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("compiled"))


def encoder_of(tiny_model: str, compiled: str, backend: str) -> TextEncoder:
    return TextEncoder(
        TextSettings(
            model=tiny_model, backend=backend, compiled=compiled, max_tokens=16, batch_size=2,
            device="cpu",
        )  # type: ignore[arg-type]
    )  # fmt: skip


def test_onnx_gives_the_vectors_of_pytorch_in_the_order_of_the_texts(
    tiny_model: str, compiled: str
) -> None:
    torch, onnx = (encoder_of(tiny_model, compiled, name) for name in ("torch", "onnx"))
    assert np.allclose(onnx.encode(TEXTS), torch.encode(TEXTS), atol=2e-3)
    assert onnx.fingerprint == torch.fingerprint
    assert onnx.key("a") == torch.key("a")


def test_what_was_exported_is_used_without_loading_the_model(
    tiny_model: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = encoder_of(tiny_model, compiled, "onnx").encode(TEXTS)
    monkeypatch.setattr(text_module, "load_model", lambda *_, **__: pytest.fail("loaded"))
    assert np.array_equal(encoder_of(tiny_model, compiled, "auto").encode(TEXTS), before)


def test_the_packaged_model_is_exported_without_sentence_transformers(
    compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["A", "The history of bread", "", "Rivière, Größe, 東京: " * 3, "word " * 300]
    settings = TextSettings(compiled=compiled, max_tokens=128, device="cpu")
    reference = TextEncoder(replace(settings, backend="torch"))
    wanted = reference.encode(texts)
    monkeypatch.setattr(text_module, "load_model", lambda *_, **__: pytest.fail("loaded"))
    found = TextEncoder(replace(settings, backend="onnx"))
    assert np.allclose(found.encode(texts), wanted, atol=1e-3)
    assert found.fingerprint == reference.fingerprint


def test_a_batch_holds_texts_of_like_token_counts(
    tiny_model: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tiny_model, compiled, "onnx")
    encoder.encode([""])
    backend = encoder._backend
    assert isinstance(backend, OnnxTexts)
    widths: list[tuple[int, ...]] = []
    run = backend._session.run

    class Session:
        def run(self, names: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:  # type: ignore[type-arg]
            widths.append(inputs["input_ids"].shape)
            return list(run(names, inputs))

    monkeypatch.setattr(backend, "_session", Session())
    # Longer in characters, shorter in tokens: the unknown words are one token each.
    encoder.encode(
        ["w1 w2 w3 w4 w5 w6", "unknown " + "x" * 40, "w1 w2 w3 w4 w5 w7", "y" * 50 + " w1"]
    )
    assert widths == [(2, 4), (2, 8)]


def test_other_vectors_have_other_keys(tiny_model: str, compiled: str) -> None:
    backends = ("onnx", "int8", "static")
    encoders = [encoder_of(tiny_model, compiled, name) for name in backends]
    assert len({encoder.key("a text") for encoder in encoders}) == 3
    assert len({encoder.fingerprint for encoder in encoders}) == 3


def test_int8_is_near_the_whole_model(tiny_model: str, compiled: str) -> None:
    whole, int8 = (encoder_of(tiny_model, compiled, name) for name in ("onnx", "int8"))
    a, b = whole.encode(TEXTS), int8.encode(TEXTS)
    cosine = (a * b).sum(axis=1)
    assert cosine.min() > 0.95
    assert not np.array_equal(a, b)


def test_a_static_vector_is_the_mean_of_its_tokens(
    tiny_model: str, compiled: str, tmp_path: Path
) -> None:
    encoder = encoder_of(tiny_model, compiled, "static")
    one, two, both, none, swapped = encoder.encode(["w1", "w2", "w1 w2", "", "w2 w1"])
    assert np.allclose(both, swapped)
    assert not none.any()
    assert np.isclose(np.linalg.norm(both), 1, atol=1e-5)
    assert both @ one > one @ two
    assert both @ two > one @ two
    again = encoder_of(tiny_model, compiled, "static")
    assert np.array_equal(again.encode(["w1 w2"])[0], both)
    assert not list(tmp_path.iterdir())


def test_frequent_tokens_weigh_little() -> None:
    vectors = np.random.default_rng(0).normal(size=(2_000, 8)).astype(np.float32)
    found = np.linalg.norm(token_vectors(vectors, 4), axis=1)
    assert found[:20].mean() < 0.3 * found[-200:].mean()


def test_a_model_that_does_not_export_is_run_by_pytorch(
    tiny_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(text_onnx, "_CHECKED_WITHIN", -1.0)  # no export is good enough
    folder = str(tmp_path / "compiled")
    with caplog.at_level(logging.WARNING, logger="static_layer"):
        found = encoder_of(tiny_model, folder, "auto").encode(TEXTS)
    assert np.array_equal(found, encoder_of(tiny_model, folder, "torch").encode(TEXTS))
    assert "PyTorch encodes texts" in caplog.text
    assert not list(Path(folder).iterdir())  # nothing half made stays
    with pytest.raises(TextModelError, match="other vectors"):
        encoder_of(tiny_model, folder, "onnx").encode(TEXTS)


def test_a_bundle_is_matched_by_its_own_backend_and_length(tiny_model: str, compiled: str) -> None:
    recipe = encoder_of(tiny_model, compiled, "int8").recipe
    own = encoder_of(tiny_model, compiled, "auto")
    found = own.matching({**recipe})
    assert found.fingerprint == recipe["fingerprint"]
    assert found.settings.backend == "int8"
    assert own.matching(encoder_of(tiny_model, compiled, "torch").recipe) is own


def test_another_models_bundle_is_matched_by_that_model_or_refused(
    tiny_model: str, compiled: str
) -> None:
    recipe = encoder_of(tiny_model, compiled, "auto").recipe
    packaged = TextEncoder(TextSettings())
    assert packaged.matching(recipe).settings.model == tiny_model
    with pytest.raises(TextModelError, match=r"static\.text\.model"):
        packaged.matching({**recipe, "model": "/no/such/folder"})
    with pytest.raises(TextModelError, match=r"static\.text\.model"):
        packaged.matching({**recipe, "fingerprint": "0" * 32})
