"""Texts become vectors once; the packaged model works without a network."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from static_layer import text as text_module
from static_layer.item_text import catalogue_texts
from static_layer.progress import Progress
from static_layer.settings import TextSettings
from static_layer.text import TextEncoder
from static_layer.text_cache import VectorCache
from static_layer.text_model import TextModelError, resolve_model

from .conftest import catalogue_of

TEXTS = [
    "A history podcast about the Roman republic.",
    "Rome: the lives of consuls and generals, told weekly.",
    "Easy recipes for bread and sourdough.",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


def test_similar_texts_are_near_each_other_and_vectors_have_length_one(
    encoder: TextEncoder,
) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, encoder.dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_vector_does_not_depend_on_its_neighbours(encoder: TextEncoder) -> None:
    together = encoder.encode([*TEXTS, TEXTS[0], ""])
    assert np.allclose(together[1], encoder.encode(TEXTS[1:2])[0], atol=2e-3)
    assert np.array_equal(together[0], together[3])


def test_no_texts_give_no_vectors(encoder: TextEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_known_texts_never_reach_the_model(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TextSettings(cache=str(tmp_path / "cache" / "vectors.db"))
    first = TextEncoder(settings)
    monkeypatch.setattr(first, "_encode_now", encoder._encode_now)
    cold = first.encode(TEXTS)
    first.close()

    second = TextEncoder(settings)
    asked: list[str] = []

    def counting(texts: list[str], _: Progress) -> NDArray[np.float32]:
        asked.extend(texts)
        return encoder._encode_now(texts)

    monkeypatch.setattr(second, "_encode_now", counting)
    warm = second.encode([*TEXTS, "Something new."])
    second.close()
    assert asked == ["Something new."]
    assert np.array_equal(warm[:3], cold)


def test_progress_counts_texts_and_shows_throughput(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "_CHUNK", 2)
    ticks = count(step=0.5)  # one look before the first chunk, one after each
    timed = TextEncoder(clock=lambda: float(next(ticks)))
    monkeypatch.setattr(timed, "_encode_now", encoder._encode_now)
    seen: list[tuple[int, int, float | None]] = []

    def progress(
        _stage: str, done: int, total: int, figures: Mapping[str, float] | None = None
    ) -> None:
        seen.append((done, total, figures["texts/s"] if figures else None))

    timed.encode(TEXTS, progress)
    assert seen == [(0, 3, None), (2, 3, 2 / 0.5), (3, 3, 3 / 1.0)]


def test_a_changed_description_encodes_that_item_alone(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = catalogue_of([("podcast", str(number)) for number in range(5)])
    mine = TextEncoder(TextSettings(cache=str(tmp_path / "vectors.db")))
    asked: list[str] = []

    def counting(texts: list[str], _: Progress) -> NDArray[np.float32]:
        asked.extend(texts)
        return encoder._encode_now(texts)

    monkeypatch.setattr(mine, "_encode_now", counting)
    before = mine.encode(catalogue_texts(catalogue)[0])
    asked.clear()
    changed = catalogue.with_row_index().with_columns(
        description=pl.when(pl.col("index") == 3).then(pl.lit("All new.")).otherwise("description")
    )
    after = mine.encode(catalogue_texts(changed)[0])
    mine.close()
    assert len(asked) == 1
    assert asked[0].endswith("All new.")
    same = (before == after).all(axis=1)
    assert same.tolist() == [True, True, True, False, True]


def test_mapped_vectors_are_the_same_in_half_precision(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = TextEncoder(TextSettings(cache=str(tmp_path / "vectors.db")))
    monkeypatch.setattr(mine, "_encode_now", encoder._encode_now)
    texts = [*TEXTS, TEXTS[0]]
    for _ in range(2):  # first encoded, then known
        mapped = mine.encode(texts, mapped=True)
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == np.float16
        assert np.allclose(mapped, mine.encode(texts), atol=1e-3)
    assert not list(tmp_path.glob("tmp*"))
    mine.close()


def test_a_folder_with_another_model_gives_other_vectors_of_another_key(tmp_path: Path) -> None:
    """Any sentence-transformers model is selectable; its vectors never mix with another's."""
    packaged = TextEncoder()
    folder = tmp_path / "model"
    shutil.copytree(packaged._source.location, folder)
    other = TextEncoder(TextSettings(model=str(folder), max_tokens=16))
    assert other.key("a text") != packaged.key("a text")
    assert other.encode(TEXTS).shape == (3, other.dimension)


def test_the_cache_keeps_what_it_has(tmp_path: Path) -> None:
    with VectorCache(tmp_path / "vectors.db") as cache:
        cache.add({b"a": np.ones(4, np.float32)})
        cache.add({b"a": np.zeros(4, np.float32), b"b": np.full(4, 0.5, np.float32)})
        found = cache.find([b"a", b"b", b"c"])
        assert {key: vector.tolist() for key, vector in found.items()} == {
            b"a": [1, 1, 1, 1],
            b"b": [0.5, 0.5, 0.5, 0.5],
        }
        assert len(cache) == 2


_OPENS = """
import sys
from pathlib import Path
from static_layer.text_cache import VectorCache
print("here", flush=True)
for line in sys.stdin:
    VectorCache(Path(line.strip())).close()
    print("opened", flush=True)
"""


def test_processes_that_make_a_cache_at_once_share_it(tmp_path: Path) -> None:
    """Workers start together on a machine that never encoded a text."""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        answers = [[other.stdout.readline() for other in others if other.stdout]]
        for place in range(40):
            for other in others:
                assert other.stdin is not None
                other.stdin.write(f"{tmp_path / f'{place}.db'}\n")
                other.stdin.flush()
            answers.append([other.stdout.readline() for other in others if other.stdout])
        assert answers == [["here\n"] * 3, *[["opened\n"] * 3] * 40]
    finally:
        for other in others:
            other.kill()
            other.communicate()


def test_the_packaged_model_is_found_under_its_names() -> None:
    names = ("auto", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
    sources = [resolve_model(name) for name in names]
    assert len(set(sources)) == 1
    assert not sources[0].on_hub


def test_altered_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("static_layer.text_model._PACKAGED_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(TextModelError, match="expected 0000"):
        resolve_model("auto")


def test_other_names_are_the_hubs_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    assert resolve_model("someone/multilingual", "abc").on_hub
    with pytest.raises(TextModelError, match="does not exist"):
        resolve_model("/no/such/folder")
    with pytest.raises(TextModelError, match="safetensors"):
        resolve_model(str(tmp_path))


def test_items_without_text_are_marked() -> None:
    catalogue = catalogue_of([("podcast", "a"), ("podcast", "b")])
    bare = catalogue.with_columns(title=None)
    texts, own = catalogue_texts(catalogue)
    assert sorted(texts) == ["item 0", "item 1"]
    assert own.all()
    assert catalogue_texts(bare)[0] == ["podcast", "podcast"]
    assert not catalogue_texts(bare)[1].any()
