"""What a search costs by number of items, exactly and by inverted lists, and what that needs.

    segue bench index --curve

Times are processor time of one thread, medians of several runs; recall is at 10 against exact
search, on users that were not there when the index was built.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.table import Table

from benchmarks.index_data import ItemSpace
from benchmarks.machine import cpu_model, written
from dynamic_layer import IndexSettings, ItemIndex
from dynamic_layer.index.building import nearest
from segue.screen import console

__all__ = ["CurveRow", "run", "show"]

BATCHES = (1, 16, 64)
_TOLD, _ASKED = 256, 512


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """One kind of index over so many items.

    build_s:        training, filling and measuring, seconds.
    lists, probes:  inverted lists, and how many of them a search reads; 0 for none.
    candidates:     whose scores are made exact, for ten hits; 0 where they are exact.
    bytes_per_item: of what FAISS holds, ids included; vectors are kept beside it in any case.
    recall:         at 10.
    search_ms:      by number of queries in a batch.
    """

    items: int
    width: int
    kind: str
    build_s: float
    lists: int
    probes: int
    candidates: int
    bytes_per_item: float
    recall: float
    search_ms: dict[int, float]


def run(
    sizes: list[int], widths: list[int], seed: int, file: Path, kinds: str = ""
) -> dict[str, Any]:
    """Measure all kinds, or those with `kinds` in the name, and write the report to `file`."""
    faiss.omp_set_num_threads(1)
    rows = []
    for width in widths:
        for items in sizes:
            for row in _rows(items, width, seed, kinds):
                rows.append(asdict(row))
                console.print(_line(rows[-1]), highlight=False)
    report = {"machine": cpu_model(), "seed": seed, "rows": rows}
    return written(report, file)


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table(title=f"search of one type, one core, {report['machine']}")
    names = ("items", "width", "index", "build s", "lists", "read", "candidates", "bytes/item",
             "recall@10", *(f"ms: {b}" for b in BATCHES))  # fmt: skip
    for name in names:
        table.add_column(name, justify="right")
    for row in report["rows"]:
        table.add_row(*_cells(row))
    console.print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['items']:,}", str(row["width"]), row["kind"], f"{row['build_s']:.1f}",
        str(row["lists"]), str(row["probes"]), str(row["candidates"]),
        f"{row['bytes_per_item']:.0f}", f"{row['recall']:.4f}",
        *(f"{ms:.2f}" for ms in row["search_ms"].values()),
    ]  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    return "  ".join(_cells(row))


def _rows(items: int, width: int, seed: int, only: str) -> Iterator[CurveRow]:
    rng = np.random.default_rng(seed)
    space = ItemSpace.draw(width, seed)
    vectors, told = space.items(items, rng), space.queries(_TOLD, rng)
    asked = space.queries(_ASKED, rng)
    types = np.zeros(items, np.int64)
    best = nearest(asked, vectors.__getitem__, np.arange(items))
    never = 2 * items
    kinds = {
        "flat float32": IndexSettings(ivf_above=never),
        "flat fp16": IndexSettings(ivf_above=never, flat_storage="fp16"),
        "flat int8": IndexSettings(ivf_above=never, flat_storage="int8"),
        "lists float32": IndexSettings(ivf_above=0, storage="float32"),
        "lists fp16": IndexSettings(ivf_above=0, storage="fp16"),
        "lists int8": IndexSettings(ivf_above=0, storage="int8"),
        "lists int4": IndexSettings(ivf_above=0, storage="int4"),
    }
    for kind, settings in kinds.items():
        if only not in kind:
            continue
        begin = time.process_time()
        index = ItemIndex(vectors, types, settings, queries=told)
        build_s = time.process_time() - begin
        found = index.search(asked, 10).rows
        built = index.built[0]
        yield CurveRow(
            items=items,
            width=width,
            kind=kind,
            build_s=build_s,
            lists=built.lists,
            probes=built.probes,
            candidates=built.candidates,
            bytes_per_item=len(faiss.serialize_index(built.index)) / items,
            recall=float((found[:, :, None] == best[:, None, :]).any(axis=2).mean()),
            search_ms={b: _median_ms(partial(index.search, asked[:b], 10)) for b in BATCHES},
        )


def _median_ms(search: Callable[[], Any]) -> float:
    times = []
    for _ in range(7):
        begin = time.process_time()
        search()
        times.append(time.process_time() - begin)
    return statistics.median(times) * 1e3
