"""The command line starts at once: it imports what a command needs when the command runs."""

import importlib.metadata
import inspect
import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import agents
import console
import dynamic_layer
import state
import static_layer
import streams
from segue.cli import app
from segue.lazy_commands import COMMANDS, load_command

#: Each takes longer to import than a help page may take.
HEAVY = {
    "aiokafka", "faiss", "fastapi", "faust", "fsspec", "kafka", "numba", "numpy", "polars",
    "pyarrow", "scipy", "torch",
}  # fmt: skip

PROBE = """
import json, sys
from typer.testing import CliRunner
from segue.cli import app
for words in json.loads(sys.argv[1]):
    done = CliRunner().invoke(app, words)
print(json.dumps([done.exit_code, sorted(set(sys.modules) & set(json.loads(sys.argv[2])))]))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_one_of_its_help(name):
    help_text = inspect.cleandoc(load_command(name).help).split("\n\n")[0]
    assert " ".join(help_text.split()) == COMMANDS[name][1]


def every_command():
    """Yield the words and the command of every command, groups included."""
    for name in COMMANDS:
        command = load_command(name)
        yield [name], command
        yield from (([name, n], below) for n, below in getattr(command, "commands", {}).items())


@pytest.mark.parametrize(
    ("words", "command"),
    list(every_command()),
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_help_of_a_command_has_an_example(words, command):
    told = f"{command.help}\n{command.epilog or ''}"
    assert f"segue {' '.join(words)}" in told.rsplit("Example", maxsplit=1)[-1]


def test_the_terminal_decides_where_lines_of_a_help_text_end():
    """The source's line ends, at 100 columns, would leave half lines on 80 columns."""
    for words, command in every_command():
        assert "\n" not in command.help.replace("\n\n", ""), words
    assert "genres (a list, or text separated by |)" in load_command("catalogue").help


def test_every_whole_number_has_a_least_value():
    """A size of -1 is refused by its option, and not by what is made of it later."""
    without = [
        f"{' '.join(words)} {option.opts[0]}"
        for words, command in every_command()
        for option in command.params
        if option.type_descriptor.annotation is int and option.min is None
    ]
    assert without == []


def test_an_error_of_the_system_is_one_line(tmp_path):
    """Of a folder that cannot be made, and of a store whose package is not installed."""
    (tmp_path / "file").write_text("")
    for words in (
        ["kafka", "start", "--set", f"data={tmp_path / 'file'}"],
        ["backup", "nowhere://backups/today", "--set", f"data={tmp_path}"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "segue", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1, done.stderr


#: Roles run until they are stopped (`--log-format json`), and `kafka env` prints for a shell.
WITHOUT_JSON = {"worker", "trainer", "rekey", "console", "static schedule", "kafka env"}


def test_every_command_with_a_result_prints_it_as_json():
    without = {
        " ".join(words)
        for words, command in every_command()
        if not any("--json" in option.opts for option in command.params)
        and not (hasattr(command, "commands") and command.no_args_is_help)
    }
    assert without == WITHOUT_JSON
    for words, command in every_command():
        if " ".join(words) in WITHOUT_JSON - {"kafka env"}:
            assert any("--log-format" in option.opts for option in command.params), words


def words_of_every_help():
    yield ["--help"]
    for name in COMMANDS:
        yield [name, "--help"]
        yield from (
            [name, below, "--help"] for below in getattr(load_command(name), "commands", {})
        )
    yield ["kafka", "env", "--set", "data=/nowhere"]
    yield ["--version"]


def test_help_and_the_broker_s_address_import_nothing_heavy():
    # One process for all: what one of them imports is found at the end.
    words = json.dumps(list(words_of_every_help()))
    found = subprocess.run(
        [sys.executable, "-c", PROBE, words, json.dumps(sorted(HEAVY))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(found.stdout) == [0, []]


#: Commands that only a broker can answer.
ASKS_BROKER = [
    ["status"],
    ["recommend", "u1"],
    ["search", "jazz"],
    ["erase", "u1"],
    ["topics", "create"],
    ["topics", "grow", "--partitions", "12", "--yes"],
    ["sources", "check"],
    ["experiments"],
    ["experiments", "stop", "next"],
    ["models", "list"],
    ["models", "show", "dynamic-1"],
    ["models", "pin", "dynamic-1"],
]


def test_a_dead_broker_is_found_before_anything_heavy_is_imported():
    """Settings are checked first, and import NumPy and fsspec."""
    dead = ["--set", "kafka.bootstrap_servers=127.0.0.1:1"]
    words = json.dumps([[*command, *dead] for command in ASKS_BROKER])
    found = subprocess.run(
        [sys.executable, "-c", PROBE, words, json.dumps(sorted(HEAVY - {"fsspec", "numpy"}))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(found.stdout) == [1, []]


def test_a_wrong_file_is_found_before_models_are_imported(tmp_path):
    (tmp_path / "reads.csv").write_text("who,what\nu,a\n")
    (tmp_path / "items.csv").write_text("id,title\na,A\n")
    files = ["--events", str(tmp_path / "reads.csv"), "--items", str(tmp_path / "items.csv")]
    words = json.dumps([["try", "--folder", str(tmp_path / "try"), *files]])
    slow = json.dumps(["faiss", "fastapi", "faust", "numba", "torch"])
    found = subprocess.run(
        [sys.executable, "-c", PROBE, words, slow], capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout) == [1, []]


#: Modules of commands that load no model, and what they may not import.
WITHOUT_MODELS = {
    "segue.settings": {*HEAVY} - {"numpy", "fsspec"},  # a type of field, and the artifact store
    "segue.system_status": {"faiss", "fastapi", "faust", "polars", "pyarrow", "torch"},
    "segue.source_check": {"faiss", "fastapi", "faust", "polars", "pyarrow", "torch"},
    "segue.demo.kept": {*HEAVY} - {"numpy", "fsspec"},
}


@pytest.mark.parametrize("module", WITHOUT_MODELS)
def test_commands_without_models_do_not_wait_for_torch(module):
    probe = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert not WITHOUT_MODELS[module] & set(json.loads(found.stdout))


@pytest.mark.parametrize("package", [agents, console, dynamic_layer, state, static_layer, streams])
def test_every_name_of_a_package_can_be_imported(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nothing"):
        _ = streams.nothing


def test_the_version_is_that_of_the_package():
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.strip() == f"segue {importlib.metadata.version('segue')}"


def test_a_command_that_does_not_exist_is_named_with_what_is_like_it():
    done = CliRunner().invoke(app, ["recomend"])
    assert done.exit_code == 2
    assert "'recommend'" in done.output


@pytest.mark.parametrize("port", ["99999", "0", "-1"])
def test_a_port_that_does_not_exist_is_refused(port):
    done = CliRunner().invoke(app, ["kafka", "start", "--port", port])
    assert done.exit_code == 2
    assert "Invalid value for '--port'" in done.output
