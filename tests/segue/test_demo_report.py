"""The demo's closing tables, also where there was little to show."""

import io

import polars as pl
import pyarrow as pa
import pytest

from segue.demo.flow import STATIC_TEXTS_ABOVE, DemoOptions, demo_settings
from segue.demo.material import Material
from segue.demo.report import show
from segue.screen import SafeConsole
from segue.settings import load_settings


def report(**changes):
    return {
        "runs_on": "the embedded log", "data": "events.parquet", "events": 3, "records_in": 4,
        "events_per_second": 1, "applied": 3, "dead_lettered": 1, "seed": 1, "test_days": 10.0,
        "state": {"histories": 1, "pairs": 0, "bytes": 0},
        "graph": {"nodes": 1, "edges": {}}, "texts": {"backend": "auto"},
        "hgnn": {
            "epochs": 0, "loss": None, "validation": None, "seconds": 0.0, "stopped_by": "no edges",
        },
        "live": {
            "events": 0, "faults": 0, "launches": 0, "launched_recommended": 0, "unanswered": 0,
            "served": 0.0, "active_users": 0,
        },
        "recommendations": 0, "latency_ms": {}, "seconds": 1.0, "peak_memory_bytes": 0,
        "hr_at_10": {}, "coverage": {}, "test_users": {}, "dead_letters": {}, "people": [],
    } | changes  # fmt: skip


def shown(found):
    out = io.StringIO()
    show(found, SafeConsole(file=out, width=100))
    return out.getvalue()


def test_a_catalogue_without_edges_has_no_loss_and_is_shown():
    text = shown(report())
    assert "0 epochs, loss none, validation MRR none" in text
    assert "1 items; edges: none" in text
    assert "CLOCK" not in text
    assert "static" not in text
    assert "no user was answered" in text


def test_the_best_model_of_a_type_and_what_the_head_lacks():
    rates = {"popularity": 0.1, "popularity_recent": 0.2, "two_tower": 0.3, "two_tower_hgnn": 0.4}
    text = shown(
        report(
            hgnn={
                "epochs": 2, "loss": 0.5, "validation": 0.25, "seconds": 1.0, "stopped_by": "clock",
            },
            hr_at_10={"song": rates}, coverage={"song": rates}, test_users={"song": 7},
            texts={"backend": "static"},
        )
    )  # fmt: skip
    assert "loss 0.5000, validation MRR 0.2500" in text
    assert "CLOCK)" in text
    assert "texts by the static model" in text
    assert "0.400 (40%)" in text
    assert "ranking head" not in text


def test_people_come_first_and_few_types_have_rows_of_their_own():
    models = ("popularity", "two_tower")
    users = {f"type-{n:02}": 100 + n for n in range(13)} | {"rare-1": 2, "rare-2": 1}
    rates = {name: dict.fromkeys(models, 1.0 if "rare" in name else 0.25) for name in users}
    person = {"user_id": "ann", "list": "mix", "history": ["a"], "recommended": ["b"]}
    text = shown(
        report(hr_at_10=rates, coverage=rates, test_users=users, people=[person],
               dead_letters={"future": 3})
    )  # fmt: skip
    order = [text.index(word) for word in ("ann (mix)", "all types", "records in", "future")]
    assert order == sorted(order)
    assert [n for n in range(13) if f"type-{n:02}" in text] == [*range(3, 13)]
    assert "rare" not in text
    [others] = [line for line in text.splitlines() if "5 other types" in line]
    # 100, 101 and 102 users of .25, three of 1.
    assert "306" in others
    assert "0.257" in others
    [all_types] = [line for line in text.splitlines() if "all types" in line]
    assert f"{sum(users.values()):,}" in all_types
    assert "0.252" in all_types


def test_one_type_has_no_row_of_all_types_and_few_users_are_shown_where_there_are_no_others():
    rates = {"song": {"popularity": 0.5}}
    text = shown(report(hr_at_10=rates, coverage=rates, test_users={"song": 2}))
    assert "song" in text
    assert "types" not in text


@pytest.mark.parametrize(
    ("items", "backend", "used"),
    [
        (STATIC_TEXTS_ABOVE, "auto", "auto"),
        (STATIC_TEXTS_ABOVE + 1, "auto", "static"),
        (STATIC_TEXTS_ABOVE + 1, "onnx", "onnx"),
    ],
)
def test_the_static_text_model_encodes_a_large_catalogue(items, backend, used):
    material = Material(
        title="", catalogue=pa.table({"item_type": ["song"] * items}), users=None,
        events=pl.DataFrame(), graph_ms=0, split_ms=0, window=(1, 1), live=[], stamped=False,
    )  # fmt: skip
    base = load_settings(flags=[f"static.text.backend={backend}"])
    assert demo_settings(base, material, DemoOptions()).static.text.backend == used


@pytest.mark.parametrize("catalogue", [[], ["podcast"]])
def test_a_type_that_the_catalogue_lacks_is_known_by_its_events(catalogue):
    events = pl.DataFrame({"item_type": ["song", "podcast", "song"], "timestamp": [1, 2, 3]})
    material = Material(
        title="", catalogue=pa.table({"item_type": pa.array(catalogue, pa.string())}), users=None,
        events=events, graph_ms=0, split_ms=0, window=(1, 1), live=[], stamped=False,
    )  # fmt: skip
    assert sorted(material.item_types) == ["podcast", "song"]
