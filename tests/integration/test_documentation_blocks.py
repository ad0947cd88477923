"""README and tutorial are true: their shell blocks are run, in order, as a reader would."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation import ShellBlock, shell_blocks

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
#: Seconds until everything has to be over. On two free cores it takes two to three minutes; beside
#: two other test processes and two busy loops it has taken ten.
DEADLINE_S = 1_500
#: What the pages call the console's port; another process may have it here.
PORT = "8600"


def add_program(file: Path, arguments: str = "", path: Path = ROOT) -> Path:
    """Write a program that starts this Python with packages of a folder, and return it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" {arguments}"$@"\n')
    file.chmod(0o755)
    return file


@pytest.fixture
def clone(tmp_path: Path, jars: Path) -> Iterator[Path]:
    """A folder that looks to a reader like a clone after `make setup`; nothing runs in it after."""
    add_program(tmp_path / ".venv" / "bin" / "python")
    segue = add_program(tmp_path / ".venv" / "bin" / "segue", "-m segue ")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "var" / "kafka").mkdir(parents=True)
    (tmp_path / "var" / "kafka" / "libs").symlink_to(jars)
    yield tmp_path
    subprocess.run([segue, "kafka", "stop"], cwd=tmp_path, check=False)


def runnable(page: Path) -> list[ShellBlock]:
    """The blocks without a reason against it; tests/test_documentation.py tells of the others."""
    return [block for block in shell_blocks(page) if not block.reason]


def run(blocks: list[ShellBlock], folder: Path) -> list[str]:
    """Run the blocks in one shell that stops at the first failure; returns what each printed."""
    script = ["set -euo pipefail"]
    for block in blocks:
        script += [f"echo '@@@ {block.place}' | tee /dev/stderr", block.text]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SEGUE_", "KAFKA_", "PYTEST_"))
    }
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(script)], cwd=folder, text=True, start_new_session=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=(folder / "errors.log").open("w"),
    )  # fmt: skip
    try:
        output, _ = shell.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
        pytest.fail(f"not done after {DEADLINE_S} s:\n{said}\n{logs(folder)}")
    finally:
        # What it had put into the background and did not end is in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, f"{output}\n{logs(folder)}"
    return re.split(r"(?m)^@@@ .*\n", output)[1:]


def logs(folder: Path) -> str:
    """The ends of what the roles and the shell wrote."""
    files = [folder / "errors.log", *sorted(folder.glob("var/*/*.log"))]
    return "\n".join(
        f"--- {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-25:])
        for file in files
        if file.exists()
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def look_around() -> ShellBlock:
    """README's commands for a demo that was kept: here they look at the tutorial's system.

    The tutorial starts a console, so README's last line is left out.
    """
    [block] = [b for b in runnable(README) if "var/demo/segue.toml" in b.text]
    *commands, console = block.text.splitlines()
    assert console == ".venv/bin/segue console --config var/demo/segue.toml"
    text = "\n".join(["mkdir -p var/demo && cp radio.toml var/demo/segue.toml", *commands])
    return ShellBlock(page=block.page, line=block.line, text=text, reason="")


@pytest.mark.timeout(DEADLINE_S + 60)
def test_the_tutorial_leads_from_a_topic_to_recommendations(clone: Path) -> None:
    *blocks, end = runnable(TUTORIAL)
    assert "kafka stop" in end.text, "the last block stops what the others started"
    port = free_port()
    blocks = [
        ShellBlock(page=b.page, line=b.line, text=b.text.replace(PORT, port), reason="")
        for b in (*blocks, look_around(), end)
    ]
    said = dict(zip((block.place for block in blocks), run(blocks, clone), strict=True))
    by_command = {
        words: next(said[b.place] for b in blocks if words in b.text)
        for words in ("sources check", "segue catalogue", "recommend 17 --timeout", "hear.py 17",
                      "v1/search", "kafka stop")
    }  # fmt: skip
    assert "5 of 5 records map" in by_command["sources check"]
    assert "120 items written to segue.catalogue" in by_command["segue catalogue"]
    for name in ("mix", "show", "song"):
        assert f"{name} (generation 1)" in by_command["recommend 17 --timeout"]
    history = by_command["hear.py 17"].split("history, newest first")[1].splitlines()
    assert "song 21" in next(line for line in history if "song" in line or "show" in line)
    lines = by_command["v1/search"].splitlines()
    found, similar, recommended = (json.loads(line) for line in lines if line.startswith("{"))
    for answer in (found, similar, recommended):
        assert len(answer["items"]) == 3, answer
    assert {item["item_type"] for item in recommended["items"]} == {"show"}
    assert "Kafka has stopped" in by_command["kafka stop"]
