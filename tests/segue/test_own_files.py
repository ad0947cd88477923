"""Files of one's own: columns are guessed, shown, and named where a guess is wrong."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segue.columns import ColumnError
from segue.demo.own_files import BadRows, how_it_was_read, read_own_files
from segue.file_rows import TableError
from streams import EventRules

NOW = 1_760_000_000_000
DAY = 86_400_000


def csv(path, head, *rows):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.fixture
def read(tmp_path):
    """Read `events` and `items` of a folder."""

    def run(events="reads.csv", items="articles.csv", **changes):
        options = {"rules": EventRules(), "now_ms": NOW, "most_events": 0, "most_items": 0}
        return read_own_files(tmp_path / events, tmp_path / items, **options | changes)

    return run


@pytest.fixture
def news(tmp_path):
    """Articles and reads as a news site has them."""
    csv(
        tmp_path / "articles.csv",
        "slug,headline,teaser,pub_date,tags",
        "a,First,,2025-01-01,x|y",
        "b,Second,One,2025-01-02,",
        "c,Third,Three,2025-01-03,z",
    )
    csv(
        tmp_path / "reads.csv",
        "reader_id,article,read_at,seconds",
        "7,b,2025-02-01 10:00:00,30",
        "7,a,2025-01-31T09:00:00Z,5",
        "8,gone,1738500000,9",
    )
    return tmp_path  # fmt: skip


def columns_of(data, name):
    (found,) = [columns for file, columns in data.columns.items() if file.endswith(name)]
    return {field: column.column for field, column in found.items()}


def test_the_columns_of_csv_files_are_guessed(news, read):
    data = read()
    assert columns_of(data, "articles.csv") == {
        "item_id": "slug", "title": "headline", "description": "teaser", "genres": "tags",
        "published_at": "pub_date",
    }  # fmt: skip
    assert columns_of(data, "reads.csv") == {
        "user_id": "reader_id", "item_id": "article", "timestamp": "read_at"
    }  # fmt: skip
    assert list(data.unused.values()) == [[], ["seconds"]]
    assert "  not used     : seconds" in how_it_was_read(data).splitlines()
    assert data.item_type == "item"
    first = data.catalogue.to_pylist()[0]
    assert (first["title"], first["genres"]) == ("First", ["x", "y"])
    assert first["published_at"] == 1_735_689_600_000
    # In order of time, whatever their form; items that the catalogue lacks are kept.
    assert data.events["item_id"].to_list() == ["a", "b", "gone"]
    assert data.events["timestamp"].to_list()[2] == 1_738_500_000_000
    assert set(data.events["kind"]) == {"stream"}


def test_the_item_id_is_the_column_whose_values_are_ids_of_the_catalogue(news, read):
    csv(news / "reads.csv", "user,session_id,product,what,when",
        *(f"u{n},s{n},x{n},{'abc'[n % 3]},2025-01-0{n + 1}" for n in range(6)))  # fmt: skip
    assert columns_of(read(), "reads.csv")["item_id"] == "what"


def test_numbers_of_users_that_are_also_ids_of_items_do_not_mislead(tmp_path, read):
    csv(tmp_path / "articles.csv", "id,name", *(f"{n},T{n}" for n in range(9)))
    csv(tmp_path / "reads.csv", "user_id,item_id,timestamp",
        *(f"{n % 3},{n if n < 6 else n + 90},{NOW}" for n in range(9)))  # fmt: skip
    found = columns_of(read(), "reads.csv")
    assert (found["user_id"], found["item_id"]) == ("user_id", "item_id")


def test_a_column_is_named_for_both_files_or_for_one(news, read):
    data = read(options=["title=teaser", "description=headline", "user_id=seconds"])
    assert columns_of(data, "articles.csv")["title"] == "teaser"
    assert columns_of(data, "articles.csv")["description"] == "headline"
    assert columns_of(data, "reads.csv")["user_id"] == "seconds"
    data = read(options=["items.item_id=slug", "events.item_id=article"])
    assert columns_of(data, "reads.csv")["item_id"] == "article"
    # A column that only one of the files has is meant for that one.
    assert columns_of(read(options=["item_id=slug"]), "reads.csv")["item_id"] == "article"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("reader", "--field reader: expected FIELD=COLUMN"),
        ("person=reader", "where FIELD is one of user_id, item_id"),
        ("user_id=nobody", r"reads.csv has no column 'nobody' for user_id; it has reader_id"),
        ("title=nothing", r"articles.csv has no column 'nothing' for title; it has slug"),
    ],
)
def test_an_option_that_names_nothing_is_refused(news, read, option, message):
    with pytest.raises(ColumnError, match=message):
        read(options=[option])


def test_a_file_without_a_needed_column_is_refused_with_the_option_that_names_it(news, read):
    csv(news / "reads.csv", "a,article,read_at", "7,b,2025-02-01")
    with pytest.raises(ColumnError, match=r"no column looks like user_id.*--field user_id=COLUMN"):
        read()
    csv(news / "reads.csv", "a,b,read_at", "7,x,2025-02-01")
    with pytest.raises(ColumnError, match=r"Name them: --field user_id=COLUMN --field item_id=COL"):
        read()


def test_a_number_that_is_no_time_is_not_taken_for_one(news, read):
    csv(news / "reads.csv", "user,article,time,ts", "u,a,30,1738400000000")
    assert columns_of(read(), "reads.csv")["timestamp"] == "ts"


@pytest.mark.parametrize("at", ["2025-02-01T10:00:00Z", "1738400000.5", "1738400000000"])
def test_the_only_column_of_times_is_taken_whatever_its_name(news, read, at):
    csv(news / "reads.csv", "reader,article,fetched,pages,year", f"u,a,{at},30,2025")
    assert columns_of(read(), "reads.csv")["timestamp"] == "fetched"


@pytest.mark.parametrize("name", ["blurb", "synopsis", "details", "about"])
def test_usual_names_of_a_description_are_guessed(news, read, name):
    csv(news / "articles.csv", f"slug,headline,{name}", "a,First,One", "b,Second,Two")
    assert columns_of(read(), "articles.csv")["description"] == name


def test_of_two_columns_of_times_the_user_names_one(news, read):
    csv(news / "reads.csv", "reader,article,fetched,returned", "u,a,2025-02-01,2025-02-03")
    with pytest.raises(ColumnError, match=r"no column looks like timestamp.*timestamp=COLUMN"):
        read()
    data = read(options=["timestamp=fetched"])
    assert columns_of(data, "reads.csv")["timestamp"] == "fetched"


def test_bad_rows_are_named_with_file_row_column_and_what_to_do(news, read):
    with (news / "reads.csv").open("a") as file:
        file.write("9,b,yesterday,1\n9,,2025-01-01,1\n9,b\n")
    with pytest.raises(BadRows) as found:
        read()
    said = str(found.value)
    assert "\n" not in said
    for text in ("reads.csv: 3 of 6 rows are bad", "line 5: wrong_type", "'yesterday'",
                 "(column read_at)", "line 6: missing_field", "(column article)",
                 "line 7: expected 4 cells, got 2", "--skip-bad"):  # fmt: skip
        assert text in said
    data = read(skip_bad=True)
    assert data.events.height == 3
    assert [row.place for row in data.bad[str(news / "reads.csv")]] == [
        "line 5",
        "line 6",
        "line 7",
    ]


def test_a_file_of_bad_rows_alone_is_refused_although_they_may_be_skipped(news, read):
    csv(news / "reads.csv", "user,article,when", "u,b,yesterday")
    with pytest.raises(BadRows, match=r"1 of 1 rows are bad.*Correct the file"):
        read(skip_bad=True, options=["timestamp=when"])


def test_json_lines_and_parquet_are_read_alike(tmp_path, read):
    at = [NOW - DAY, NOW - 2 * DAY]
    pq.write_table(
        pa.table({"userId": [1, 2], "productId": [5, 6], "eventTime": pa.array(at, pa.int64())
                  .cast(pa.timestamp("ms", "UTC"))}),
        tmp_path / "events.parquet",
    )  # fmt: skip
    rows = [{"productId": n, "productName": f"P{n}", "category": "tea"} for n in (5, 6)]
    (tmp_path / "items.ndjson").write_text("\n".join(map(json.dumps, rows)))
    data = read("events.parquet", "items.ndjson")
    assert data.events["timestamp"].to_list() == sorted(at)
    assert data.events["item_id"].to_list() == ["6", "5"]
    assert columns_of(data, "items.ndjson")["genres"] == "category"
    assert data.catalogue["genres"].to_pylist() == [["tea"], ["tea"]]


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3, 1e6])
def test_numbers_are_seconds_to_nanoseconds_by_their_size(news, read, unit):
    csv(news / "reads.csv", "user,article,ts", f"u,a,{round(1_738_400_000_000 * unit)}")
    assert read().events["timestamp"].to_list() == [1_738_400_000_000]


def test_types_come_from_the_catalogue_where_events_do_not_tell_them(tmp_path, read):
    csv(tmp_path / "articles.csv", "id,type,name", "a,song,A", "b,show,B", "c,song,C", "c,show,C2")
    csv(tmp_path / "reads.csv", "user,item,ts,type", f"u,a,{NOW},click", f"u,b,{NOW + 1},click")
    assert read().events["item_type"].to_list() == ["song", "show"]
    csv(tmp_path / "reads.csv", "user,item,ts", f"u,a,{NOW}", f"u,d,{NOW}", f"u,c,{NOW}")
    data = read(skip_bad=True)
    assert data.events.height == 1
    (bad,) = data.bad.values()
    assert "the catalogue has no item 'd'" in bad[0].fault
    assert "of several types (show, song)" in bad[1].fault


def test_kinds_that_are_not_ours_are_not_used_and_this_is_said(news, read):
    csv(news / "reads.csv", "user,article,ts,event", f"u,a,{NOW},click", f"u,b,{NOW},view")
    data = read()
    assert set(data.events["kind"]) == {"stream"}
    assert any("column event" in note and "not used" in note for note in data.notes)
    csv(news / "reads.csv", "user,article,ts,event", f"u,a,{NOW},follow", f"u,b,{NOW},stream")
    assert read().events["kind"].to_list() == ["follow", "stream"]


def test_the_newest_events_and_the_items_with_most_of_them_are_kept(news, read):
    data = read(most_events=2, most_items=2)
    assert data.events["item_id"].to_list() == ["b"]  # the other one is of no item that is kept
    assert [row["item_id"] for row in data.catalogue.to_pylist()] == ["b", "a"]
    assert len(data.notes) == 3  # one event is of an item that the catalogue does not have
    assert (data.items_read, data.events_read) == (3, 3)


@pytest.mark.parametrize("text", ["", "user,article,ts\n"])
def test_an_empty_file_is_refused(news, read, text):
    (news / "reads.csv").write_text(text)
    with pytest.raises((TableError, ColumnError), match=r"reads\.csv has no rows"):
        read()


def test_columns_without_a_usual_name_are_suggested_for_both_files_at_once(tmp_path, read):
    csv(tmp_path / "medien.csv", "signatur,werk,regal",
        *(f"S{n},Das Buch {n},{n % 4}" for n in range(40)))  # fmt: skip
    csv(tmp_path / "ausleihen.csv", "karte,signatur,entliehen",
        *(f"L{n % 15},S{n % 40},2025-01-01T0{n % 9}:00:00Z" for n in range(60)))  # fmt: skip
    with pytest.raises(ColumnError) as fault:
        read("ausleihen.csv", "medien.csv")
    first, second = str(fault.value).splitlines()
    assert first.endswith("for example: --field item_id=signatur --field title=werk")
    assert second.endswith("for example: --field user_id=karte")
    data = read("ausleihen.csv", "medien.csv",
                options=("item_id=signatur", "title=werk", "user_id=karte"))  # fmt: skip
    assert data.events.height == 60


def test_a_folder_instead_of_a_file_is_named(news, read):
    with pytest.raises(TableError, match=r"is a folder; expected a file"):
        read_own_files(
            news / "reads.csv", news, rules=EventRules(), now_ms=NOW, most_events=0, most_items=0
        )


def test_repeated_items_and_events_of_unknown_items_are_counted(news, read):
    assert any(note.endswith("does not have: 1") for note in read().notes)
    with (news / "articles.csv").open("a") as file:
        file.write("a,First again,,2025-01-01,x\n")
    data = read()
    assert any("that repeat an id: 1; the last" in note for note in data.notes)
    assert (data.items_read, data.events_read) == (3, 3)
