"""Files whose times are in seconds: refused before anything is written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.demo.material import from_parquet
from segue.feeding import event_records

SECOND = 1_760_000_000


def files(folder: Path, *, at: int, published: int) -> tuple[Path, Path]:
    events, items = folder / "events.parquet", folder / "items.parquet"
    one = {"item_id": ["a"], "item_type": ["podcast"]}
    pq.write_table(pa.table({"user_id": ["u"], **one, "timestamp": [at]}), events)
    pq.write_table(pa.table({**one, "title": ["t"], "published_at": [published]}), items)
    return events, items


def feed(folder: Path, events: Path, items: Path) -> str:
    options = ["--to", "embedded", "--set", f"data={folder}"]
    result = CliRunner().invoke(app, ["feed", str(events), str(items), *options])
    return f"{result.exit_code}: {result.output}"


@pytest.mark.parametrize(("at", "published"), [(SECOND, SECOND * 1000), (SECOND * 1000, SECOND)])
def test_feeding_seconds_is_refused_before_anything_is_written(
    tmp_path: Path, at: int, published: int
) -> None:
    said = feed(tmp_path, *files(tmp_path, at=at, published=published))
    assert not said.startswith("0: "), said
    assert "seconds" in said
    assert not (tmp_path / "embedded-log").exists()


def test_milliseconds_are_fed(tmp_path: Path) -> None:
    said = feed(tmp_path, *files(tmp_path, at=SECOND * 1000, published=-1))
    assert said.startswith("0: "), said


def test_a_demo_on_seconds_and_a_stream_of_them_are_refused(tmp_path: Path) -> None:
    events, items = files(tmp_path, at=SECOND, published=0)
    with pytest.raises(ValueError, match="seconds"):
        from_parquet(events, items, test_days=1, until_ms=None, live_rate=1.0, live_seconds=1.0)
    with pytest.raises(ValueError, match="seconds"):
        list(event_records(pq.ParquetFile(events).iter_batches()))
