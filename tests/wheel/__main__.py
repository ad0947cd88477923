"""`python -m tests.wheel`: builds the wheel, installs it in new environments, and runs it there.

For each supported Python that is found: `pip install` of the wheel with what it asks for (no lock),
then start-up times and `segue try` in an empty folder, with a file of German titles among English.
Dependencies come from the package index, or from uv's cache.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
#: Commands that print at once.
STARTS = (("--version",), ("--help",), ("try", "--help"), ("kafka", "env"))
TITLES = ("The history of bread {}", "Kartoffelsalat für die Party {}", "Learning jazz piano {}")
DAY_MS = 86_400_000


class Failed(Exception):
    """The wheel does not do what the documentation says."""


def main() -> int:
    """Print one JSON line for each Python; 0 if all is well, 1 if not, 2 without a Python."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheel", description=__doc__)
    parser.add_argument("--python", action="append", help="an interpreter; repeat for more")
    asked = parser.parse_args()
    uv = str(Path(sys.executable).with_name("uv"))
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        folder = Path(name)
        wheel = _built(uv, folder / "dist")
        found = asked.python or [path for version in PYTHONS if (path := _interpreter(version))]
        if not found:
            sys.stderr.write(f"found no Python {', '.join(PYTHONS)}\n")
            return 2
        for number, python in enumerate(found):
            place = folder / f"python-{number}"
            try:
                sys.stdout.write(f"{json.dumps(_tried(uv, python, wheel, place))}\n")
                sys.stdout.flush()
            except Failed as failure:
                sys.stderr.write(f"Python {python}: {failure}\n")
                return 1
            shutil.rmtree(place)  # some gigabytes each
    return 0


def _run(*words: str, cwd: Path | None = None) -> str:
    settings = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SEGUE", "KAFKA", "PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=settings, check=False)
    # `segue kafka env` ends with 3 where no broker runs.
    if done.returncode and not (words[-2:] == ("kafka", "env") and done.returncode == 3):
        raise Failed(f"{' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def _interpreter(version: str) -> str:
    """Return an interpreter on the path or of pyenv; empty without one. A shim may lead nowhere."""
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for path in (shutil.which(f"python{version}"), *map(str, of_pyenv)):
        try:
            if path and _run(path, "--version"):
                return path
        except Failed:
            continue
    return ""


def _built(uv: str, folder: Path) -> Path:
    """Build the wheel of what git tracks: the clone may hold files of other builds."""
    source = folder.with_name("source")
    _run("git", "clone", "--quiet", str(ROOT), str(source))
    _run(uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _tried(uv: str, python: str, wheel: Path, place: Path) -> dict[str, object]:
    began = time.monotonic()
    _run(uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(place / "venv"))
    interpreter, segue = (str(place / "venv" / "bin" / name) for name in ("python", "segue"))
    _run(uv, "pip", "install", "--quiet", "--python", interpreter, str(wheel))
    found: dict[str, object] = {
        "python": _run(interpreter, "--version").split()[1],
        "install_s": round(time.monotonic() - began, 1),
    }
    work = place / "work"
    work.mkdir()
    found["start_cpu_s"] = {" ".join(words): _start(segue, words, work) for words in STARTS}
    _files(work)
    check = json.loads(_run(segue, "catalogue", "items.csv", "--check", "--json", cwd=work))
    if "German" not in check["language"]["found"] or check["unused"] != ["shelf"]:
        raise Failed(f"segue catalogue --check: {check}")
    words = ("try", "--events", "reads.csv", "--items", "items.csv", "--no-serve", "--json")
    before = _processor_s()
    report = json.loads(_run(segue, *words, cwd=work))
    found["try_cpu_s"] = round(_processor_s() - before, 1)
    if len(report["people"]) != 3 or not all(one["recommended"] for one in report["people"]):
        raise Failed(f"segue try gave no lists: {report}")
    if report["unused"] != {"items.csv": ["shelf"], "reads.csv": []}:
        raise Failed(f"segue try named other columns: {report['unused']}")
    found["try_s"] = report["seconds"]
    if left := {path.name for path in work.iterdir()} - {"items.csv", "reads.csv", "segue-try"}:
        raise Failed(f"it wrote files outside its folder: {left}")
    return found


def _start(segue: str, words: tuple[str, ...], work: Path) -> float:
    """Return the least of five starts in processor seconds; the first one compiles modules."""
    spans = []
    for _ in range(5):
        began = _processor_s()
        _run(segue, *words, cwd=work)
        spans.append(_processor_s() - began)
    return round(min(spans), 2)


def _processor_s() -> float:
    """Return the processor time of processes that ended: a busy machine changes it little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _files(work: Path) -> None:
    """Write 60 items, a third of them German, and reads of 40 users in 90 days."""
    draw, now = random.Random(1), time.time_ns() // 1_000_000
    titles = [TITLES[n % 3].format(n) for n in range(60)]
    lines = "".join(f"{n},{title},{n % 7}\n" for n, title in enumerate(titles))
    (work / "items.csv").write_text("id,name,shelf\n" + lines)
    rows = sorted(
        (now - DAY_MS - draw.randrange(89 * DAY_MS), user, draw.randrange(20) * 3 + user % 3)
        for user in range(40)
        for _ in range(12)
    )
    lines = "".join(f"r{user},{item},{at}\n" for at, user, item in rows)
    (work / "reads.csv").write_text("reader,article,when\n" + lines)


if __name__ == "__main__":
    sys.exit(main())
