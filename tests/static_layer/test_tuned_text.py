"""The text encoder's last layers learn with the HGNN: what learns, what stays, what it is for."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.settings import Settings
from segue.static_job import help_static_job
from static_layer.graph import build_graph
from static_layer.settings import GraphSettings, HGNNSettings, TextSettings, TrainSettings
from static_layer.text import TextEncoder
from static_layer.text_model import TextModelError
from static_layer.train import Training, train
from static_layer.tuned_text import TunedText
from tests.static_layer.conftest import Community

MODEL = HGNNSettings(hidden=16, output=16, structure=0)
TRAIN = TrainSettings(
    epochs=8, batch_size=256, negatives=64, fan_outs=(2, 2), cold_share=1.0, validation_share=0.0,
    max_edges_per_epoch=3_000, tune_text=1, tune_learning_rate=1e-3, tune_texts=256, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tiny_model: str) -> Iterator[TextEncoder]:
    made = TextEncoder(TextSettings(model=tiny_model, device="cpu", max_tokens=16))
    yield made
    made.close()


@pytest.fixture(scope="module")
def texts(community: Community) -> list[str]:
    """One word tells the community; nine, drawn anew for each item, tell nothing."""
    rng = np.random.default_rng(1)
    noise = [rng.integers(6, 60, rng.integers(4, 9)) for _ in community.label]
    words = [
        rng.permutation([label, *some]) for label, some in zip(community.label, noise, strict=True)
    ]
    return [" ".join(f"w{n}" for n in mine) for mine in words]


def trained(
    community: Community, encoder: TextEncoder, texts: list[str], settings: TrainSettings
) -> tuple[Training, TunedText | None]:
    tuned = TunedText(encoder, texts, settings.tune_text) if settings.tune_text else None
    graph = build_graph(
        community.merged.co_interactions, community.merged.catalogue, GraphSettings()
    )
    training = train(graph, encoder.encode(texts), MODEL, settings, seed=3, tuned=tuned)
    return training, tuned


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_untouched_the_two_halves_give_the_encoders_own_vectors(
    encoder: TextEncoder, layers: int
) -> None:
    texts = ["w1 w2", "", "w3", "w1 w2", " ".join(["w4"] * 40)]
    tuned, own = TunedText(encoder, texts, layers), encoder.encode(texts)
    assert np.allclose(tuned.vectors(), own, atol=3e-3)
    with torch.no_grad():
        some = tuned(torch.tensor([4, 0, 0])).numpy()
    assert np.allclose(some, own[[4, 0, 0]], atol=3e-3)


@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_reaches_the_last_layers_and_the_encoder_stays(
    encoder: TextEncoder, layers: int
) -> None:
    before = encoder.encode(["w1 w2"])
    tuned = TunedText(encoder, ["w1 w2", "w3 w4 w5"], layers)
    tuned(torch.tensor([0, 1]))[:, 0].sum().backward()
    assert len(tuned.layers) == layers
    assert all(value.grad is not None for value in tuned.parameters())
    assert any(float(value.grad.abs().max()) > 0 for value in tuned.layers[0].parameters())
    with torch.no_grad():
        for value in tuned.parameters():
            value.add_(1.0)
    assert np.array_equal(encoder.encode(["w1 w2"]), before)


def test_a_model_with_fewer_layers_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(TextModelError, match="1 to 3"):
        TunedText(encoder, ["w1"], 4)


def test_tuning_is_reproducible_and_lowers_the_loss(
    community: Community, encoder: TextEncoder, texts: list[str]
) -> None:
    frozen, _ = trained(community, encoder, texts, replace(TRAIN, tune_text=0))
    first, tuned = trained(community, encoder, texts, TRAIN)
    second, again = trained(community, encoder, texts, TRAIN)
    assert tuned is not None
    assert again is not None
    assert np.array_equal(tuned.vectors(), again.vectors())
    assert first.loss == second.loss
    assert tuned.fingerprint("") == again.fingerprint("")
    assert tuned.fingerprint("") != TunedText(encoder, texts, 1).fingerprint("")
    # The same edges, batches and first weights: what the HGNN could not make of the texts as they
    # were shows in the loss.
    assert first.loss < frozen.loss - 0.01


def test_frozen_text_is_left_as_it_was(
    community: Community, encoder: TextEncoder, texts: list[str]
) -> None:
    training, _ = trained(community, encoder, texts, replace(TRAIN, tune_text=0, epochs=1))
    text = training.features.text(torch.arange(len(texts))).numpy()
    assert np.array_equal(text, encoder.encode(texts))


def test_a_bundle_with_tuned_texts_is_not_published() -> None:
    settings = Settings()
    static = replace(settings.static, train=TrainSettings(tune_text=1))
    with pytest.raises(ValueError, match=r"static\.train\.tune_text"):
        help_static_job(replace(settings, static=static), seed=1)
