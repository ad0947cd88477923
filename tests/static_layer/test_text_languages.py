"""A catalogue in a language that the text model does not read is named."""

import logging

import polars as pl
import pytest
from tokenizers import Tokenizer

from state import MergedState
from static_layer import job
from static_layer.settings import StaticSettings
from static_layer.text import TextEncoder
from static_layer.text_languages import misread

from .conftest import Community, TableEncoder

ENGLISH = ["The history of German bread", "How to prepare potato salad", "Weekend weather forecast"]
GERMAN = ["Wie man Kartoffelsalat richtig zubereitet", "Bundestag beschließt neues Heizungsgesetz"]
JAPANESE = ["日本のパンの歴史", "ポテトサラダの作り方", "週末の天気予報"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    found = TextEncoder().tokenizer()
    assert found is not None
    return found


def test_english_is_read(tokenizer: Tokenizer) -> None:
    assert misread(tokenizer, ENGLISH * 10, [None] * 30) is None


@pytest.mark.parametrize("texts", [GERMAN, JAPANESE], ids=["German", "Japanese"])
def test_other_languages_are_not(tokenizer: Tokenizer, texts: list[str]) -> None:
    found = misread(tokenizer, texts * 10, [None] * len(texts) * 10)
    assert found is not None
    assert found.share == 1
    assert "static.text.model" in str(found)
    assert "docs/text-models.md" in str(found)
    assert "\n" not in str(found)


def test_a_part_of_the_catalogue_is_found_by_its_language(tokenizer: Tokenizer) -> None:
    texts, languages = ENGLISH * 30 + GERMAN * 5, ["en"] * 90 + ["de"] * 10
    found = misread(tokenizer, texts, languages)
    assert found is not None
    assert list(found.letters) == ["de"]
    assert found.share == pytest.approx(0.1)


def test_a_model_with_words_of_two_letters_reads_japanese(tokenizer: Tokenizer) -> None:
    class Words:
        def encode(self, text: str, *, add_special_tokens: bool) -> object:
            class Found:
                offsets = tuple((n, n + 2) for n in range(0, len(text) - 1, 2))

            return Found()

    assert misread(Words(), JAPANESE * 10, [None] * 30) is None  # type: ignore[arg-type]


def test_no_texts_are_read(tokenizer: Tokenizer) -> None:
    assert misread(tokenizer, [], []) is None


def test_the_static_job_warns(
    community: Community, encoder: TableEncoder, caplog: pytest.LogCaptureFixture,
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    german = community.merged.catalogue.with_columns(
        title=pl.concat_str(pl.col("title"), pl.lit(f" {GERMAN[0]}")), language=pl.lit("de")
    )
    monkeypatch.setattr(TableEncoder, "tokenizer", lambda _: tokenizer)

    def stopped(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(job, "build_graph", stopped)
    merged = MergedState(**{**vars(community.merged), "catalogue": german})
    with caplog.at_level(logging.WARNING, "static_layer"), pytest.raises(InterruptedError):
        job.build(merged, StaticSettings(), seed=1, encoder=encoder)  # type: ignore[arg-type]
    assert "de 2." in caplog.text or "de 3." in caplog.text
