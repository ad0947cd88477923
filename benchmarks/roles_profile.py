"""Where the processor time of each role goes: samples of its process under a benchmark, by py-spy.

A role's benchmark runs unchanged, as a process of its own. As soon as the role's process exists,
py-spy samples its stacks until it ends; threads that wait are left out. A sample counts for the
innermost frame of Segue's own code, whose folder, or module of a package, is the *part*; without
such a frame it counts for the library. py-spy reads the memory of another process: that needs root,
or `kernel.yama.ptrace_scope` 0.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from benchmarks.machine import cpu_model
from segue.screen import console

__all__ = ["ROLES", "ProfileError", "page_of", "parts_of", "run", "show"]

ROOT = Path(__file__).parents[1]
START_S = 600.0
POLL_S = 0.2
SAMPLES_PER_S = 100
SHOWN = 8
LEAST_SHARE = 0.015
OWN = ("streams", "state", "static_layer", "dynamic_layer", "agents", "console", "simulation")
"""Packages whose frames name a part; frames of `segue` only call the others."""
BENCHMARK = "benchmarks"
"""What a benchmark does in the role's process is no part of the role, and is left out."""
IMPORTS = "start (imports)"
NATIVE = "threads without Python code"
WAITS = "waits"
"""Innermost files of threads that wait. py-spy cannot tell without stopping the process."""
_WAITING = ("selectors.py", "threading.py", "queue.py", "concurrent/futures/thread.py")


class ProfileError(Exception):
    """A role could not be sampled; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """How a role is put to work.

    command: arguments of `segue bench`, without the file of the figures.
    process: words that the command line of the process to sample holds.
    """

    command: tuple[str, ...]
    process: tuple[str, ...]


ROLES = {
    "ingest": Role(
        command=("throughput", "--jobs", "segue", "--events", "3000000", "--repeat", "1"),
        process=("segue", "worker"),
    ),
    "answers": Role(
        command=("latency", "--workers", "1", "--rate", "500", "--seconds", "60"),
        process=("segue", "worker"),
    ),
    "api": Role(
        command=("api", "--rate", "300", "--seconds", "60", "--repeat", "1", "--head"),
        process=("benchmarks.api",),
    ),
    "trainer": Role(command=("trainer", "--repeat", "20"), process=("bench", "trainer")),
    "static": Role(
        command=("static", "--items", "100000", "--edges", "2000000"),
        process=("benchmarks.static_scale", "measure"),
    ),
}


def run(roles: Iterable[str], file: Path) -> dict[str, Any]:
    """Sample each role; write the report to `file` and the flame graphs beside it.

    Raises ProfileError where py-spy is missing or may not sample, or a benchmark fails.
    """
    names = list(roles)
    if unknown := set(names) - ROLES.keys():
        raise ProfileError(f"no such role: {', '.join(sorted(unknown))}; there are {[*ROLES]}")
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}") or shutil.which("py-spy")
    if spy is None:
        raise ProfileError("py-spy is not installed: pip install py-spy")
    file.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": cpu_model(), "roles": {}}
    for name in names:
        console.print(f"{name}: segue bench {' '.join(ROLES[name].command)}", highlight=False)
        graph = file.parent / f"profile-{name}.svg"
        stacks = _sampled(spy, ROLES[name], graph)
        report["roles"][name] = {
            "command": ["segue", "bench", *ROLES[name].command],
            "samples": sum(stacks.values()),
            "parts": parts_of(stacks),
            "flame_graph": graph.name,
        }
        file.write_text(json.dumps(report, indent=2) + "\n")
    return report


def show(report: dict[str, Any]) -> None:
    """Print for each role its greatest parts: share of the samples, and where most of it is."""
    for name, role in report["roles"].items():
        table = Table(title=f"{name}: {role['samples']:,} samples, {report['machine']}")
        table.add_column("part")
        table.add_column("share", justify="right")
        table.add_column("most of it in")
        for part in role["parts"][:SHOWN]:
            table.add_row(part["part"], f"{part['share']:.1%}", part["function"])
        console.print(table)
        console.print(f"flame graph: {role['flame_graph']}, beside the figures", highlight=False)


_PAGE = """# Where the processor time goes

    segue bench profile --page benchmarks/PROFILE.md

py-spy samples each role's process 100 times per second, from its start to its end, while a
benchmark of the role runs. Threads that wait are left out. A sample counts for the innermost frame
of Segue's own code: its folder, or its module where a package has no folders. Time in a library
counts for the part that called it. The command also writes a flame graph of each role, as SVG.

Machine: {machine}. Shares of one run.
"""
_ROLE = """
## {name}

    {command}

| part | share | most of it in |
|---|---|---|
"""


def page_of(report: dict[str, Any]) -> str:
    """Return the report as a page in Markdown."""
    page = _PAGE.format(machine=report["machine"])
    for name, role in report["roles"].items():
        page += _ROLE.format(name=name, command=" ".join(role["command"]))
        for part in role["parts"]:
            if part["share"] >= LEAST_SHARE:
                page += f"| {part['part']} | {part['share']:.1%} | `{part['function']}` |\n"
    return page


def parts_of(stacks: Counter[str]) -> list[dict[str, Any]]:
    """Return the parts, greatest first: name, share of the role's samples, and the top function.

    stacks: samples by stack, frames from the outermost on, joined by ";", each as
    `function (file:line)`.
    """
    functions: dict[str, Counter[str]] = defaultdict(Counter)
    for stack, samples in stacks.items():
        part, function = _part(stack.split(";"))
        functions[part][function] += samples
    for left_out in (BENCHMARK, WAITS):
        functions.pop(left_out, None)
    total = sum(inside.total() for inside in functions.values())
    found = [
        {
            "part": part,
            "share": round(inside.total() / total, 4),
            "function": inside.most_common(1)[0][0],
        }
        for part, inside in functions.items()
    ]
    return sorted(found, key=lambda part: (-part["share"], part["part"]))


def _part(frames: list[str]) -> tuple[str, str]:
    if any("importlib._bootstrap" in frame for frame in frames):
        return IMPORTS, "modules that are loaded once"
    if _named(frames[-1])[1].endswith(_WAITING):
        return WAITS, ""
    for frame in reversed(frames):
        function, file = _named(frame)
        package, _, inside = file.partition("/")
        if package in OWN:
            return (
                file.rpartition("/")[0] if "/" in inside else file.removesuffix(".py")
            ), function
        if package == BENCHMARK:
            return BENCHMARK, function
    function, file = _named(frames[-1])
    return (f"library {file.split('/')[0]}", function) if file else (NATIVE, "its libraries")


def _named(frame: str) -> tuple[str, str]:
    """Function and file of a frame, the file from the checkout or from site-packages on."""
    function, _, place = frame.rpartition(" (")
    file = place.rpartition(":")[0].removeprefix(f"{ROOT}/").lstrip("/")
    return function or frame, file.rpartition("site-packages/")[2]


def _sampled(spy: str, role: Role, graph: Path) -> Counter[str]:
    """Run a role's benchmark and return samples by stack; the flame graph goes to `graph`."""
    with tempfile.TemporaryDirectory(dir=graph.parent) as scratch:
        figures, raw = Path(scratch) / "figures.json", Path(scratch) / "stacks.txt"
        output = Path(scratch) / "output.txt"
        command = [sys.executable, "-m", "segue", "bench", *role.command, "--json", str(figures)]
        with output.open("wb") as said:
            bench = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        try:
            pid = _working(bench, role)
            with _spies(spy, pid, raw, graph) as spies:
                bench.wait()
                for process in spies:
                    process.wait()
        finally:
            if bench.poll() is None:
                bench.terminate()
                bench.wait()
        if bench.returncode:
            raise ProfileError(f"the benchmark failed:\n{output.read_text()[-2000:]}")
        if not raw.exists() or not raw.read_text().strip():
            raise ProfileError(
                "py-spy could not sample the process: run as root, or set ptrace_scope to 0"
            )
        stacks: Counter[str] = Counter()
        for line in raw.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            stacks[stack] += int(samples)
        return stacks


def _working(bench: subprocess.Popen[bytes], role: Role) -> int:
    """Wait for the process of a role, which is the benchmark's or one that it starts."""
    deadline = time.monotonic() + START_S
    while bench.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(bench.pid)
            for process in [*root.children(recursive=True), root]:
                if set(role.process) <= set(process.cmdline()):
                    return int(process.pid)
        time.sleep(POLL_S)
    raise ProfileError(f"the benchmark started no process of {' '.join(role.process)}")


@contextlib.contextmanager
def _spies(spy: str, pid: int, raw: Path, graph: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Sample a process until it ends: stacks for the table, and a flame graph."""
    record = [spy, "record", "--pid", str(pid), "--nonblocking", "--rate", str(SAMPLES_PER_S)]
    processes = [
        subprocess.Popen(
            [*record, *more], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for more in (
            ("--format", "raw", "--output", str(raw)),
            ("--format", "flamegraph", "--function", "--output", str(graph)),
        )
    ]  # fmt: skip
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
