"""segue catalogue: what it writes is what workers take, and what they would refuse it names."""

import datetime
import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from segue.catalogue_file import CatalogueError, read_catalogue
from segue.cli import app
from segue.feeding import catalogue_records, event_records
from segue.file_rows import TableError, open_parquet, read_parquet, read_rows
from streams import Item, Record, decode_items

NOW = 1_760_000_000_000
GOOD = {"item_id": "a", "item_type": "song", "title": "A"}


def written(found):
    """Return the items of records as a worker reads them; it must refuse none."""
    records = [
        Record(topic="t", partition=0, offset=n, timestamp=0, key=key, value=value)
        for n, (key, value) in enumerate(found.records)
    ]
    items, letters = decode_items(records)
    assert letters == []
    return items.records


def lines(tmp_path, *rows):
    file = tmp_path / "items.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def csv_file(tmp_path, text, **options):
    file = tmp_path / "items.csv"
    file.write_text(text, **options)
    return file


def parquet(tmp_path, columns):
    file = tmp_path / "items.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def test_ids_stay_the_text_that_they_are(tmp_path):
    file = csv_file(tmp_path, "item_id,item_type,title\n00123,007,1984\n1e3,007,true\n")
    assert [(i.item_id, i.item_type, i.title) for i in written(read_catalogue(file))] == [
        ("00123", "007", "1984"), ("1e3", "007", "true")
    ]  # fmt: skip
    ids = parquet(tmp_path, {"item_id": ["00123"], "item_type": ["s"], "title": ["A"]})
    assert written(read_catalogue(ids))[0].item_id == "00123"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_cells_are_separated_by_what_separates_the_header(tmp_path, separator, suffix):
    rows = ["item_id", "item_type", "title"], ["a", "song", '"One, two; three|four\tfive"']
    file = tmp_path / f"items.{suffix}"
    file.write_text("\n".join(separator.join(row) for row in rows))
    assert written(read_catalogue(file))[0].title == "One, two; three|four\tfive"


def test_genres_may_be_one_text(tmp_path):
    rows = [GOOD | {"genres": "folk"}, GOOD | {"genres": "folk|rock"}, GOOD | {"genres": ""}]
    found = written(read_catalogue(lines(tmp_path, *rows)))
    assert [item.genres for item in found] == [["folk"], ["folk", "rock"], []]


def test_a_header_of_one_cell_is_read(tmp_path):
    rows = list(read_rows(csv_file(tmp_path, '"item\nid"\na\n')))
    assert rows == [("line 3", {"item\nid": "a"})]
    assert list(read_rows(csv_file(tmp_path, ""))) == []


def test_ids_that_are_whole_numbers_are_their_text(tmp_path):
    file = lines(tmp_path, GOOD | {"item_id": 123}, GOOD | {"item_id": 2**70})
    assert [i.item_id for i in written(read_catalogue(file))] == ["123", str(2**70)]
    ids = parquet(tmp_path, {"item_id": [5], "item_type": [6], "title": ["A"]})
    assert (written(read_catalogue(ids))[0].key) == b"6\x005"


def test_a_field_that_first_comes_late_is_kept(tmp_path):
    rows = [GOOD | {"item_id": str(n)} for n in range(2_500)]
    rows[2_400] |= {"description": "late", "genres": ["folk"], "published_at": -5}
    late = written(read_catalogue(lines(tmp_path, *rows)))[2_400]
    assert (late.description, late.genres, late.published_at) == ("late", ["folk"], -5)


def test_an_item_may_have_no_title(tmp_path):
    file = lines(tmp_path, GOOD, GOOD | {"item_id": "b", "title": None}, {**GOOD, "item_id": "c"})
    found = read_catalogue(file)
    assert [i.title for i in written(found)] == ["A", None, "A"]
    without = {"item_id": "d", "item_type": "song"}
    assert [i.title for i in written(read_catalogue(lines(tmp_path, GOOD, without)))] == ["A", None]
    cells = csv_file(tmp_path, "item_id,item_type,title\na,song,\n")
    assert written(read_catalogue(cells))[0].title is None


BAD = {
    "numeric title": ({"title": 5}, "wrong_type"),
    "boolean title": ({"title": True}, "wrong_type"),
    "id over 256 bytes": ({"item_id": "é" * 129}, "bad_id"),
    "type over 256 bytes": ({"item_type": "x" * 257}, "bad_id"),
    "empty id": ({"item_id": ""}, "bad_id"),
    "no id": ({"item_id": None}, "missing_field"),
    "boolean id": ({"item_id": True}, "wrong_type"),
    "fractional id": ({"item_id": 1.5}, "wrong_type"),
    "NUL in an id": ({"item_id": "a\0b"}, "bad_id"),
    "number as genres": ({"genres": 5}, "wrong_type"),
    "number among genres": ({"genres": ["folk", 5]}, "wrong_type"),
    "time as text": ({"published_at": "2020"}, "wrong_type"),
    "text beyond the limit": ({"description": "x" * 1_048_576}, "too_large"),
}


@pytest.mark.parametrize(("change", "reason"), BAD.values(), ids=BAD)
def test_a_row_that_workers_would_refuse_is_named_and_its_neighbours_are_kept(
    tmp_path, change, reason
):
    file = lines(tmp_path, GOOD, GOOD | {"item_id": "b"} | change, GOOD | {"item_id": "c"})
    found = read_catalogue(file)
    assert [i.item_id for i in written(found)] == ["a", "c"]
    assert [row.place for row in found.bad] == ["line 2"]
    assert found.bad[0].fault.startswith(f"{reason}: ")


@pytest.mark.parametrize("line", ["{", "[1]", "5", '"x"', "\xff", '{"item_id": "\\ud800"}'])
def test_a_line_that_is_no_json_object_is_a_bad_row(tmp_path, line):
    file = tmp_path / "items.ndjson"
    good = json.dumps(GOOD).encode()
    file.write_bytes(b"\xef\xbb\xbf" + good + b"\n\n" + line.encode("latin-1") + b"\r\n" + good)
    found = read_catalogue(file)
    assert len(written(found)) == 2
    assert [row.place for row in found.bad] == ["line 3"]


def test_csv_has_lists_numbers_quotes_and_bad_rows_like_any_other(tmp_path):
    head = "item_id,item_type,title,genres,published_at,description\n"
    file = csv_file(
        tmp_path,
        "\ufeff" + head + 'a,song,"Tom, ""x""\nand y",folk | rock,-5,\n'
        'b,song,B,"[""a|b""]",1000,text\nc,song\nd,song,D,,soon,\ne,song,E,[,,\nf,song,F,,,\n',
        encoding="utf-8",
    )
    found = read_catalogue(file)
    first, second, last = written(found)
    assert (first.title, first.genres, first.published_at) == (
        'Tom, "x"\nand y',
        ["folk", "rock"],
        -5,
    )
    assert (second.genres, second.published_at, second.description) == (["a|b"], 1000, "text")
    assert (last.item_id, last.genres) == ("f", None)
    assert [row.place for row in found.bad] == ["line 5", "line 6", "line 7"]


def test_a_row_of_csv_that_is_no_utf_8_is_bad_and_the_others_are_not(tmp_path):
    file = tmp_path / "items.csv"
    file.write_bytes("item_id,item_type,title\na,song,Café\nb,song,".encode() + b"Caf\xe9\n")
    found = read_catalogue(file)
    assert [i.title for i in written(found)] == ["Café"]
    assert [row.place for row in found.bad] == ["line 3"]


def test_a_time_of_parquet_is_in_ms(tmp_path):
    at = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    for value in (pa.array([at]), pa.array([at.replace(tzinfo=None)]), pa.array([at.date()])):
        columns = {"item_id": ["a"], "item_type": ["s"], "title": ["A"], "published_at": value}
        item = written(read_catalogue(parquet(tmp_path, columns)))[0]
        assert item.published_at == at.timestamp() * 1000


def test_a_day_or_a_time_as_text_is_in_ms(tmp_path):
    texts = ["2020-01-02", "2020-01-02 00:00:00", "2020-01-02T01:00:00+01:00"]
    rows = [GOOD | {"item_id": str(n), "published_at": at} for n, at in enumerate(texts)]
    cells = "".join(f"{n},song,A,{at}\n" for n, at in enumerate(texts))
    for file in (
        lines(tmp_path, *rows),
        csv_file(tmp_path, "item_id,item_type,title,published_at\n" + cells),
    ):
        assert {item.published_at for item in written(read_catalogue(file))} == {1_577_923_200_000}


def test_fields_have_the_names_of_the_file(tmp_path):
    file = lines(tmp_path, {"slug": "a", "name": "A", "title": 5})
    found = read_catalogue(file, ["item_id=slug", "title=name"], "song")
    assert written(found) == [Item(item_id="a", item_type="song", title="A")]
    with pytest.raises(CatalogueError, match="has no field 'kind', expected for item_type; it has"):
        read_catalogue(file, ["item_id=slug", "title=name", "item_type=kind"])
    with pytest.raises(CatalogueError, match="expected FIELD=COLUMN"):
        read_catalogue(file, ["slug"])
    with pytest.raises(CatalogueError, match="no rows"):
        read_catalogue(csv_file(tmp_path, "item_id,item_type,title\n"))
    with pytest.raises(TableError, match="expected a file name that ends with"):
        read_catalogue(tmp_path / "items.xml")


@pytest.fixture
def topic(monkeypatch):
    """What the command writes, in place of a topic."""
    records = []

    async def write(log, topic, settings, rows, total, screen):
        records.extend(rows)
        return len(rows)

    monkeypatch.setattr("segue.feeding.bulk_write_with_bar", write)
    monkeypatch.setattr("streams.require_broker", lambda kafka: None)
    return records


def test_the_command_counts_and_names_bad_rows_and_writes_nothing(tmp_path, topic):
    rows = [GOOD | {"item_id": str(n), "title": n if n < 25 else "x"} for n in range(30)]
    file = lines(tmp_path, *rows)
    done = CliRunner().invoke(app, ["catalogue", str(file)])
    assert done.exit_code == 1
    assert topic == []
    for text in ("25 of 30 rows are bad", "line 1: wrong_type", "line 10:", "and 15 more"):
        assert text in done.output
    assert "line 11:" not in done.output
    assert "--skip-bad" in done.output


def test_the_command_skips_bad_rows_when_it_is_told_to(tmp_path, topic):
    file = lines(tmp_path, GOOD, GOOD | {"title": 5}, GOOD | {"item_id": "c"})
    done = CliRunner().invoke(app, ["catalogue", str(file), "--skip-bad"])
    assert done.exit_code == 0, done.output
    assert [msgspec.json.decode(value)["item_id"] for _, value in topic] == ["a", "c"]
    assert "2 items written" in done.output
    assert "1 bad rows skipped" in done.output


def test_a_table_of_items_that_workers_would_refuse_is_not_fed():
    table = pa.table({"item_id": ["a", "b"], "item_type": ["s", "s"], "title": [1, 2]})
    with pytest.raises(CatalogueError, match=r"2 rows that workers refuse:\nrow 1: wrong"):
        catalogue_records(table)


def test_a_file_that_is_no_table_is_refused_with_what_is_wrong(tmp_path):
    other = tmp_path / "items.parquet"
    other.write_text("no table")
    for read in (open_parquet, read_parquet):
        with pytest.raises(TableError, match=r"file not found: .*missing\.parquet"):
            read(tmp_path / "missing.parquet")
        with pytest.raises(TableError, match=r"items.parquet is not a readable Parquet file: \w+"):
            read(other)
        with pytest.raises(TableError, match="is a folder"):
            read(tmp_path)
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(TableError, match="has no column b, c; it has a"):
        read_parquet(other, ("a", "b", "c"))


@pytest.mark.parametrize(
    "words",
    [
        ["feed", "missing.parquet", "items.parquet"],
        ["catalogue", "missing.parquet"],
        ["catalogue", "missing.csv"],
        ["catalogue", "missing.jsonl"],
        ["evaluate", "missing.parquet", "items.parquet"],
        ["static", "compare", "missing.parquet", "items.parquet", "--split", "2014-04-04"],
        ["demo", "--events", "missing.parquet", "--items", "items.parquet", "--log", "embedded"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_says_that_a_file_is_missing(words, tmp_path):
    done = CliRunner().invoke(app, [*words, "--set", f"data={tmp_path}"])
    assert done.exit_code == 1
    assert "file not found: missing." in done.output


def event_table(**changes):
    columns = {
        "user_id": pa.array([1, 2]), "item_id": pa.array(["007", "b"]),
        "item_type": pa.array(["s", "s"]).dictionary_encode(),
        "timestamp": pa.array([NOW, NOW + 1]),
    }  # fmt: skip
    return pa.table(columns | changes).to_batches()


def test_events_of_a_table_have_ids_of_text_and_times_in_ms():
    at = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    values = [msgspec.json.decode(value) for _, value in event_records(event_table())]
    assert [(v["user_id"], v["item_id"], v["timestamp"]) for v in values] == [
        ("1", "007", NOW), ("2", "b", NOW + 1)
    ]  # fmt: skip
    times = pa.array([at, at], pa.timestamp("us", "UTC"))
    values = [value for _, value in event_records(event_table(timestamp=times))]
    assert msgspec.json.decode(values[0])["timestamp"] == at.timestamp() * 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": pa.array([1.0, 2.0])}, "item_id: expected text or whole numbers, got double"),
        ({"user_id": pa.array([True, False])}, "user_id: expected text or whole numbers, got bool"),
        ({"timestamp": pa.array([1.5, 2.5])}, "timestamp: expected ms UTC or a time, got double"),
        ({"user_id": pa.array(["a", None])}, "1 rows have no user_id"),
        ({"timestamp": pa.array([None, NOW])}, "1 rows have no timestamp"),
    ],
)
def test_a_table_whose_columns_are_no_ids_or_times_is_refused(change, message):
    with pytest.raises(TableError, match=message):
        list(event_records(event_table(**change)))


def check(*words):
    return CliRunner().invoke(app, ["catalogue", *words, "--check"])


def test_a_check_suggests_the_fields_from_a_sample_and_writes_nothing(tmp_path, topic):
    file = csv_file(tmp_path, "sku,product_name,supplier,tags\n007,Tea,Hot,a|b\n8,,x,\n8,Cup,x,\n")
    done = check(str(file), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {name: column["column"] for name, column in found["columns"].items()} == {
        "item_id": "sku", "title": "product_name", "genres": "tags"
    }  # fmt: skip
    assert (found["items"], found["distinct"], found["untitled"], found["good"]) == (3, 2, 1, True)
    assert found["unused"] == ["supplier"]
    assert found["sample"][0] == {
        "item_id": "007", "item_type": "item", "title": "Tea", "genres": ["a", "b"]
    }  # fmt: skip
    # The command that it suggests reads the file in the same way.
    words = found["command"].split()[1:]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert [msgspec.json.decode(value) for _, value in topic] == found["sample"]


def test_a_check_names_languages_that_the_text_model_does_not_read(tmp_path):
    titles = ["日本のパンの歴史", "The history of bread", "A walk in the garden"] * 10
    file = csv_file(tmp_path, "id,name\n" + "".join(f"{n},{t}\n" for n, t in enumerate(titles)))
    done = check(str(file), "--set", f"data={tmp_path / 'data'}")
    assert done.exit_code == 0, done.output
    assert "does not read at least 33% of the texts (Japanese 33%)" in done.output
    assert "static.text.model" in done.output
    assert not (tmp_path / "data").exists()


def test_a_check_shows_bad_rows_and_ends_with_status_4(tmp_path, topic):
    file = lines(tmp_path, GOOD, GOOD | {"title": 5}, GOOD | {"item_id": "x\x1b[31m"})
    done = check(str(file), "-f", "description=title")
    assert done.exit_code == 1
    assert "no column looks like title" in done.output
    done = check(str(file))
    assert done.exit_code == 4
    assert "items: 2 (2 different ids, 0 without a title); bad rows: 1" in done.output
    assert "line 2: wrong_type" in done.output
    assert "\x1b[31m" not in done.output
    assert topic == []


def test_what_is_written_can_be_told_as_json(tmp_path, topic):
    file = lines(tmp_path, GOOD, GOOD | {"title": 5})
    done = CliRunner().invoke(app, ["catalogue", str(file), "--skip-bad", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"topic": "segue.catalogue", "items": 1, "bad_rows": 1}
    assert len(topic) == 1


def test_progress_is_reported_while_a_file_is_read_and_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("segue.file_rows.REPORTED", 2)
    seen = []
    file = lines(tmp_path, *[GOOD | {"item_id": str(n)} for n in range(5)])
    read_catalogue(file, progress=lambda *report: seen.append(report))
    stage = f"read {file.name}"
    assert seen == [(stage, 2, None), (stage, 4, None), (stage, 5, 5)]
    seen.clear()
    read_catalogue(lines(tmp_path, GOOD), progress=lambda *report: seen.append(report))
    assert seen == []
