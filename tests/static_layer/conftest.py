"""A small world of two item types whose items fall into communities that text half reveals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from state import CATALOGUE_SCHEMA, CoInteractions, MergedState, StateSettings, item_key
from static_layer.progress import Progress, silent

COMMUNITIES = 6

# The tensors here are tiny: a second thread only waits for a core.
torch.set_num_threads(1)


@dataclass(frozen=True)
class Community:
    """A merged state, each item's community i64[n] and noisy text vectors f32[n, 16]."""

    merged: MergedState
    label: NDArray[np.int64]
    text: NDArray[np.float32]


class TableEncoder:
    """Stands in for the text model: looks vectors up by the item's number in its text."""

    fingerprint = "table"
    recipe: ClassVar = {"model": "table", "fingerprint": "table"}

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors

    def pieces(self) -> None:
        return None

    def encode(
        self, texts: Sequence[str], progress: Progress = silent, *, mapped: bool = False
    ) -> NDArray[np.float32]:
        progress("text", len(texts), len(texts))
        return self.vectors[[int(text.split()[1]) for text in texts]]


def catalogue_of(items: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """A catalogue of (type, id) whose title is 'item <position>'."""
    frame = pl.DataFrame(
        {
            "item_key": [item_key(*item) for item in items],
            "item_id": [item_id for _, item_id in items],
            "item_type": [item_type for item_type, _ in items],
            "title": [f"item {number}" for number in range(len(items))],
        },
        schema_overrides={"item_key": pl.UInt64()},
    )
    empty = [
        pl.lit(None, kind).alias(name)
        for name, kind in CATALOGUE_SCHEMA.items()
        if name not in frame.columns
    ]
    return frame.with_columns(empty).select(list(CATALOGUE_SCHEMA)).sort("item_key")


def make_community(seed: int = 0, items: int = 240, users: int = 600) -> Community:
    rng = np.random.default_rng(seed)
    catalogue = catalogue_of([("podcast" if n % 3 else "audiobook", str(n)) for n in range(items)])
    label = rng.integers(COMMUNITIES, size=items)
    centres = rng.normal(size=(COMMUNITIES, 16))
    text = centres[label] + 2.0 * rng.normal(size=(items, 16))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    keys = catalogue["item_key"].to_numpy()
    left, right = [], []
    for _ in range(users):
        mine = np.flatnonzero(label == rng.integers(COMMUNITIES))
        heard = np.unique(np.append(rng.choice(mine, 6), rng.integers(items, size=1)))
        a, b = np.triu_indices(len(heard))
        left.append(keys[heard[a]])
        right.append(keys[heard[b]])
    pairs = np.concatenate(left), np.concatenate(right)
    merged = MergedState(
        co_interactions=CoInteractions.from_pairs(*pairs, np.ones(len(pairs[0]), np.int64)),
        catalogue=catalogue,
        offsets={"segue.events": {0: 17, 1: 4}},
        watermark=20_000,
        settings=StateSettings(),
    )
    # The encoder looks up by the number in the title, which is not the row's number.
    return Community(merged, label, text.astype(np.float32))


@pytest.fixture(scope="session")
def community() -> Community:
    return make_community()


@pytest.fixture
def encoder(community: Community) -> TableEncoder:
    number = [int(title.split()[1]) for title in community.merged.catalogue["title"]]
    by_number = np.empty_like(community.text)
    by_number[number] = community.text
    return TableEncoder(by_number)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a BERT of three layers with random weights, which knows the words w0 to w59."""
    # Imported here: most tests need no text model, and this takes seconds.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer import modules as parts  # noqa: PLC0415
    from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: PLC0415

    bert, folder = (str(tmp_path_factory.mktemp(name)) for name in ("bert", "model"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(60))]
    Path(bert, "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab=str(Path(bert, "vocab.txt"))).save_pretrained(bert)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=64, max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(bert)
    modules = [parts.Transformer(bert), parts.Pooling(32), parts.Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(folder)
    return folder
