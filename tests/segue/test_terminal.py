"""Titles, ids and messages come from other people: none of them may act on a terminal."""

import ast
import io
import logging
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from segue.catalogue_check import CatalogueCheck
from segue.catalogue_file import BadRow
from segue.cli import app
from segue.columns import Column
from segue.commands import catalogue, doctor, people, sources, state, try_out
from segue.demo import report
from segue.doctor import Finding
from segue.log_format import TextLines
from segue.screen import LineBars, SafeConsole, StageBars, marked
from segue.source_check import MappedRecord, SourceCheck
from segue.terminal_text import printable

ESCAPES = {
    "title of the window": "Song\x1b]0;mine\x07",
    "clear the screen": "\x1b[2JSong",
    "live link": "\x1b]8;;https://example.org\x1b\\Song\x1b]8;;\x1b\\",
    "one-byte introducer": "\x9b31mSong",
    "carriage return": "Song\rBong",
    "backspace": "Song\x08\x7f",
    "right to left": "Song \u202egnos",
    "line separator": "Song\u2028Bong",
    "half a character": "Song \ud83d",
}
MARKUP = ["Live [/acoustic] session", "Song [live]", "[red]Song[/red]", ":fire: Song", "Song \\"]
UNSAFE = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}
UNSAFE |= set("\u2028\u2029\u202e\ud83d")


def harmless(text):
    return not UNSAFE & set(text)


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_what_acts_on_a_terminal_is_written_out_and_the_rest_stays(text):
    shown = printable(text)
    assert harmless(shown)
    assert "Song" in shown


@pytest.mark.parametrize("text", [*MARKUP, "Café ☕", "日本語", "אבג", "👩‍💻", "a\u200fb"])
def test_other_texts_stay_as_they_are(text):
    assert printable(text) == text


def test_a_text_of_one_line_stays_on_it_and_a_text_of_several_keeps_its_lines():
    assert printable("a\nb\tc") == "a\\nb\\tc"
    assert printable("a\nb\tc\r", lines=True) == "a\nb\tc\\r"


def commands_that_show(title):
    """Call, as their commands do, what shows a title, an id, a type and a message of a user."""
    item = {"item_type": title, "item_id": title, "title": title, "score": 1.0}
    seen = item | {"time": None, "strong_time": None, "strong": True, "visits": [0]}
    found = {"generation": 1, "items": [item], "text": title}
    people._show_found(found)
    people._show_user({"user_id": title, "history": [seen], "lists": {title: [item]}} | found)
    people._show_user({"user_id": title, "history": [], "lists": {}} | found)
    view = {"user_id": title, "entries": 1, "partition": 0, "history": [seen]}
    state._show_user(view | {"attributes": {"plan": title}, "disliked": [item]})
    neighbour = item | {"users": 1}
    state._show_item(
        item | {"catalogue": {"title": title}, "users": 1, "neighbours_in_all": 1}
        | {"neighbours": [neighbour]}
    )  # fmt: skip
    bad = MappedRecord(partition=0, offset=1, reason="bad_id", detail=title, payload=title)
    good = MappedRecord(partition=0, offset=0, user_id=title, item_type=title, item_id=title)
    for fault in ("", title):
        sources._show(
            SourceCheck(
                topic=title, keyed_by_user=True, create_time=True, fault=fault, records=[good, bad]
            )
        )
    person = {"user_id": title, "list": title, "history": [title], "recommended": [title]}
    people.console.print(report._person(person))
    progress = StageBars(LineBars())
    progress(title, 1, 1)
    doctor._show([Finding(check=title, verdict="warn", found=title, fix=title)])
    column = Column(field=title, column=title, example=title)
    catalogue._show(
        CatalogueCheck(
            file=title, columns={title: column}, unused=[title], item_type=title, items=1,
            distinct=1, untitled=0, bad_rows=1, bad=[BadRow(title, title)], sample=[],
            command=title, language=Finding(check=title, verdict="warn", found=title, fix=title),
        )
    )  # fmt: skip
    report_of_a_try = {
        "people": [person], "events": 1, "users": 1, "items": 1, "seconds": 1.0, "folder": title,
        "console": title,
    }  # fmt: skip
    try_out._show(report_of_a_try)


def test_a_step_that_takes_long_says_so_in_a_log_file(capsys):
    seconds = [0.0]
    bars = LineBars(clock=lambda: seconds[0])
    task = bars.add_task("encode", total=100, note="")
    for at, done in ((4.0, 10), (11.0, 20), (12.0, 21), (25.0, 60), (26.0, 100)):
        seconds[0] = at
        bars.update(task, completed=done)
    assert capsys.readouterr().out.splitlines() == [
        "encode: 20 of 100 after 11 s", "encode: 60 of 100 after 25 s", "encode: 100 in 26.0 s"
    ]  # fmt: skip


def test_a_log_file_shows_how_far_a_step_is_every_few_seconds(capsys):
    now = [0.0]
    progress = StageBars(LineBars(clock=lambda: now[0]))
    for second in range(14):
        now[0] = float(second)
        progress("text", 100 * second, 1_400, {"texts/s": 100.0})
    progress("text", 1_400, 1_400)
    assert capsys.readouterr().out.splitlines() == [
        "text: 1,000 of 1,400 after 10 s  texts/s 100", "text: 1,400 in 13.0 s  texts/s 100"
    ]  # fmt: skip


@pytest.mark.parametrize("title", ESCAPES.values(), ids=ESCAPES)
def test_no_command_lets_a_title_act_on_the_terminal(title, capsys):
    commands_that_show(title)
    assert harmless(capsys.readouterr().out)


@pytest.mark.parametrize("title", MARKUP)
def test_every_command_shows_markup_as_it_is_written(title, capsys):
    commands_that_show(title)
    shown = capsys.readouterr().out
    assert shown.count(title) >= 20
    assert "🔥" not in shown


def test_a_text_that_was_made_without_the_helper_is_harmless_too():
    out = io.StringIO()
    console = SafeConsole(file=out, force_terminal=True, color_system=None, width=60)
    table = Table(title="\x1b[2J")
    table.add_column("\x9b31m")
    console.print(table, marked("[bold]{}[/]", "a\x1b[2J"), "b\x1b[2J")
    console.print_json('{"a": "\x9b31m"}')
    assert harmless(out.getvalue())


def test_what_fills_a_template_keeps_the_style_of_its_place():
    text = marked("[red]error:[/] {} is [bold]{}[/]", "a [/] \\", "[b]")
    assert text.plain == "error: a [/] \\ is [b]"
    assert [(text.plain[s.start : s.end], str(s.style)) for s in text.spans] == [
        ("error:", "red"), ("[b]", "bold")
    ]  # fmt: skip


def test_a_line_of_the_log_cannot_act_on_the_terminal():
    record = logging.LogRecord("a", logging.INFO, "f", 1, "of %s\nb", ("\x1b[2J\r",), None)
    assert TextLines("%(message)s").format(record) == "of \\x1b[2J\\r\nb"


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "a.parquet", "b.parquet", "--json", "/no\x1b[2J/x.json"],
        ["worker", "--set", "data\x1b[2J=1"],
        ["feed", "no\x1b[2J.parquet", "b.parquet"],
        ["catalogue", "no\x1b[2J.csv"],
        ["\x1b[2J"],
    ],
    ids=lambda words: words[0].strip("\x1b"),
)
def test_an_error_that_quotes_the_command_line_cannot_act_on_the_terminal(words):
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    assert harmless(done.output)
    assert "[2J" in done.output.replace("\n", "").replace("│ ", "").replace(" │", "")


@pytest.mark.parametrize("words", [["recommend"], ["erase"], ["state", "show", "--user"]])
def test_an_id_that_no_record_can_have_is_refused_with_one_sentence(words):
    for bad in ("", "\ud83d", "é" * 129):
        done = CliRunner().invoke(app, [*words, bad])
        assert done.exit_code == 2
        assert "expected an id" in done.output


def markup_outside_templates(source: str) -> list[str]:
    """Return formatted strings with rich's markup that no `marked` turns into styles."""
    nodes = list(ast.walk(ast.parse(source)))
    calls = [n for n in nodes if isinstance(n, ast.Call) and ast.unparse(n.func) == "marked"]
    allowed = {id(below) for call in calls for below in ast.walk(call)}
    return [
        ast.unparse(node) for node in nodes
        if isinstance(node, ast.JoinedStr) and id(node) not in allowed
        and any("[/]" in str(part.value) for part in node.values if isinstance(part, ast.Constant))
    ]  # fmt: skip


def test_markup_is_in_templates_alone_since_other_text_is_printed_as_it_is():
    assert markup_outside_templates('print(f"[red]{x}[/]")') == ["f'[red]{x}[/]'"]
    assert markup_outside_templates('print(marked(f"[{colour}]{{}}[/]", x))') == []
    for file in sorted((Path(__file__).parents[2] / "segue").rglob("*.py")):
        assert markup_outside_templates(file.read_text()) == [], file
