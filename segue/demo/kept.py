"""Demos that run on after their command: which processes they have, and how they are stopped.

Imports little, so that `segue demo --stop` answers at once.
"""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import psutil

from streams.broker import DevelopmentBroker
from streams.distribution import POM

__all__ = ["end_process", "forget", "keep", "kept_demos", "stop_kept"]

# File of a demo's folder that names its processes.
_KEPT = "processes.json"


def keep(folder: Path, pids: Iterable[int]) -> None:
    """Record the processes of a demo, so that they can be stopped later.

    folder: of the demo, in the data folder.
    """
    started = [{"pid": pid, "started": psutil.Process(pid).create_time()} for pid in pids]
    (folder / _KEPT).write_text(json.dumps(started))


def forget(folder: Path) -> None:
    """Remove the record of a demo's processes: they have ended."""
    (folder / _KEPT).unlink(missing_ok=True)


def kept_demos(directory: Path) -> list[Path]:
    """Return the folders of running demos that were started in a directory."""
    folders: dict[Path, None] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = process.cmdline()
            if "--config" not in words or not {"worker", "trainer"} & set(words):
                continue
            started_in = Path(process.cwd())
            folder = (started_in / words[words.index("--config") + 1 :][0]).parent
            if started_in == directory.resolve() and (folder / _KEPT).exists():
                folders[folder] = None
    return list(folders)


def stop_kept(folder: Path) -> bool:
    """Stop what an earlier `segue demo --keep` left running; returns whether anything ran.

    folder: of the demo, in the data folder.
    """
    kept = folder / _KEPT
    found = False
    if kept.exists():
        for entry in json.loads(kept.read_text()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(entry["pid"])
                if process.create_time() == entry["started"]:
                    found = True
                    end_process(process)
        forget(folder)
    return DevelopmentBroker(folder / "kafka", POM).stop() or found


def end_process(process: psutil.Process) -> None:
    """Terminate a process; kill it if it does not end."""
    process.terminate()
    try:
        process.wait(30)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
