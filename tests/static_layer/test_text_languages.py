"""A catalogue in a language that the text model does not read is named."""

import logging
import random
from collections.abc import Sequence

import polars as pl
import pytest

from state import MergedState
from static_layer import job
from static_layer.settings import StaticSettings
from static_layer.text import TextEncoder, _many_languages
from static_layer.text_guess import UNKNOWN
from static_layer.text_languages import Misread, Pieces, misread

from .conftest import Community, TableEncoder

ENGLISH = ["The history of German bread", "How to prepare potato salad", "Weekend weather forecast"]
GERMAN = ["Wie man Kartoffelsalat richtig zubereitet", "Bundestag beschließt neues Heizungsgesetz"]
FRENCH = [
    "Comment préparer une salade de pommes de terre", "Les plus belles plages de Bretagne",
    "Le gouvernement annonce de nouvelles mesures pour la rentrée",
]  # fmt: skip
SPANISH = ["Cómo preparar una tortilla de patatas", "Los mejores pueblos para visitar en otoño"]
RUSSIAN = ["Как испечь хлеб дома", "История русского балета"]
#: No word among the frequent ones of a language.
COMPOUNDS = [
    "Kartoffelsalat", "Sonnenschutzcreme", "Wanderschuhe Herren", "Schreibtischlampe dimmbar",
    "Küchenmaschine Rührschüssel", "Kinderfahrrad", "Gartenschlauch", "Bettwäsche Baumwolle",
]  # fmt: skip
BRANDS = [
    "Cuisinart MCP116-20 Stainless Universal Steamer", "KitchenAid Artisan Stand Mixer",
    "Zyliss Salad Spinner", "Le Creuset Signature Skillet", "Bosch Cordless Drill 18V",
    "OXO Good Grips Peeler", "Zojirushi Rice Cooker", "Lodge Cast Iron Griddle",
]  # fmt: skip
ARTISTS = [
    "Motörhead", "Björk", "The Wombats", "Sigur Rós", "Los Lobos", "Jurassic 5", "Le Tigre",
    "Pennywise", "Queens of the Stone Age", "Die Antwoord", "Arcade Fire", "Talking Heads",
    "Massive Attack", "Portishead", "Johnny Cash", "Miles Davis", "Radiohead",
    "Rage Against the Machine", "Nina Simone", "Aphex Twin", "Beastie Boys", "Fleetwood Mac",
    "Iron & Wine", "Stereolab",
]  # fmt: skip
JAPANESE = ["日本のパンの歴史", "ポテトサラダの作り方", "週末の天気予報"]


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    found = TextEncoder().pieces()
    assert found is not None
    return found


def unnamed(pieces: Pieces, texts: Sequence[str]) -> Misread | None:
    return misread(pieces, texts, [None] * len(texts))


def test_english_is_read(pieces: Pieces) -> None:
    assert unnamed(pieces, ENGLISH * 10) is None


@pytest.mark.parametrize("texts", [GERMAN, JAPANESE], ids=["German", "Japanese"])
def test_other_languages_are_not(pieces: Pieces, texts: list[str]) -> None:
    found = unnamed(pieces, texts * 10)
    assert found is not None
    assert found.share == 1
    assert "static.text.model" in str(found)
    assert "docs/text-models.md" in str(found)
    assert "\n" not in str(found)


def test_a_part_of_the_catalogue_is_found_by_its_language(pieces: Pieces) -> None:
    texts, languages = ENGLISH * 30 + GERMAN * 5, ["en"] * 90 + ["de"] * 10
    found = misread(pieces, texts, languages)
    assert found is not None
    assert list(found.letters) == ["de"]
    assert found.share == pytest.approx(0.1)
    assert "does not read 10% of the texts (de 10%)" in str(found)


PARTS = {
    "Japanese": (JAPANESE, {"Japanese"}),
    "German": (GERMAN, {"German"}),
    "French": (FRENCH, {"French", "Romance language"}),
    "Spanish": (SPANISH, {"Spanish", "Romance language"}),
    "Russian": (RUSSIAN, {"Cyrillic"}),
}
MIX = (GERMAN + FRENCH + JAPANESE, {"German", "French", "Romance language", "Japanese"})


@pytest.mark.parametrize(
    ("foreign", "names", "share"),
    [
        *((*part, share) for part in PARTS.values() for share in (0.1, 0.3, 0.6)),
        # Each language has at least a twentieth of the texts.
        *((*MIX, share) for share in (0.3, 0.6)),
    ],
)
def test_a_part_is_found_without_language_fields(
    pieces: Pieces, foreign: list[str], names: set[str], share: float
) -> None:
    amount = round(500 * share)
    texts = [*(foreign * 200)[:amount], *((ENGLISH + BRANDS) * 100)[: 500 - amount]]
    random.Random(3).shuffle(texts)
    found = unnamed(pieces, texts)
    assert found is not None
    assert found.share == pytest.approx(share, abs=0.02)
    assert set(found.shares) - {UNKNOWN} <= names
    assert f"at least {found.share:.0%}" in str(found)


def test_a_part_without_words_that_tell_its_language_is_found(pieces: Pieces) -> None:
    """Titles of one or two words: all that is known is that many have short pieces."""
    found = unnamed(pieces, [*COMPOUNDS * 20, *BRANDS * 20])
    assert found is not None
    assert list(found.shares) == [UNKNOWN]
    assert 0.3 < found.share < 0.6


@pytest.mark.parametrize("texts", [BRANDS, ARTISTS], ids=["brands", "artists"])
def test_names_in_an_english_catalogue_are_no_alarm(pieces: Pieces, texts: list[str]) -> None:
    assert unnamed(pieces, texts * 20) is None
    assert unnamed(pieces, [*texts * 20, *ENGLISH * 20]) is None


def test_single_foreign_titles_are_no_alarm(pieces: Pieces) -> None:
    assert unnamed(pieces, [*ENGLISH * 100, *JAPANESE * 4]) is None


def test_a_model_with_words_of_two_letters_reads_japanese() -> None:
    def split(text: str) -> list[str]:
        return [text[at : at + 2] for at in range(0, len(text) - 1, 2)]

    assert unnamed(Pieces(split=split), JAPANESE * 10) is None


def test_no_texts_are_read(pieces: Pieces) -> None:
    assert misread(pieces, [], []) is None


def test_the_static_job_warns(
    community: Community, encoder: TableEncoder, caplog: pytest.LogCaptureFixture,
    pieces: Pieces, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    german = community.merged.catalogue.with_columns(
        title=pl.concat_str(pl.col("title"), pl.lit(f" {GERMAN[0]}")), language=pl.lit("de")
    )
    monkeypatch.setattr(TableEncoder, "pieces", lambda _: pieces)

    def stopped(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(job, "build_graph", stopped)
    merged = MergedState(**{**vars(community.merged), "catalogue": german})
    with caplog.at_level(logging.WARNING, "static_layer"), pytest.raises(InterruptedError):
        job.build(merged, StaticSettings(), seed=1, encoder=encoder)  # type: ignore[arg-type]
    assert "does not read 100% of the texts (de 100%)" in caplog.text


def test_a_vocabulary_of_many_languages_has_shorter_pieces_of_each() -> None:
    assert not _many_languages(["[CLS]", "the", "##s", "bread", "über", "1999"])
    assert _many_languages(["▁the", "▁bread", "▁über", "パン", "хлеб", "!"])
