"""segue demo --stop finds what segue demo --keep left running, wherever its data folder is."""

import asyncio
import json
import subprocess
import sys

import psutil
import pytest
from typer.testing import CliRunner

from segue.cli import app
from segue.demo.runtime import stoppable


@pytest.fixture
def kept():
    """Leave a demo's worker running: its process, and the file that names it."""
    running = []

    def leave(data, directory):
        folder = directory / data / "demo"
        folder.mkdir(parents=True)
        config = f"{data}/demo/segue.toml"
        process = subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.pause()", "worker", "--config", config],
            cwd=directory,
        )
        running.append(process)
        started = {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}
        (folder / "processes.json").write_text(json.dumps([started]))
        return process

    yield leave
    for process in running:
        process.kill()
        process.wait()


def stop(*flags):
    done = CliRunner().invoke(app, ["demo", "--stop", *flags])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("data", ["var", "elsewhere/data"])
def test_the_demo_that_was_started_here_is_stopped(kept, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    process = kept(data, tmp_path)
    assert "stopped the demo" in stop()
    assert not psutil.pid_exists(process.pid)
    assert "nothing was running" in stop()


def test_the_demo_of_a_data_folder_that_is_named_is_stopped_and_no_other(
    kept, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    first, second = kept("one", tmp_path), kept("two", tmp_path)
    assert "nothing was running" in stop("--set", "data=three")
    assert "stopped the demo" in stop("--set", "data=two")
    assert psutil.pid_exists(first.pid)
    assert not psutil.pid_exists(second.pid)


def test_a_demo_that_was_started_in_another_directory_is_left_alone(kept, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    process = kept("data", tmp_path)
    assert "nothing was running" in stop()
    assert psutil.pid_exists(process.pid)


async def test_a_demo_that_is_stopped_says_that_a_step_ends_first(capsys):
    began = asyncio.Event()

    async def job():
        began.set()
        await asyncio.Event().wait()

    running = asyncio.ensure_future(stoppable(job()))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert capsys.readouterr().err == "stopping: the current step ends first\n"
