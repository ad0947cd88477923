"""Mutation testing of the code that promises most: `make mutants SEED=1 MUTANTS=200`.

A seed draws small faults (`<` for `<=`, 1 for 2) in the state kernels, positions, erasure, the gate
and policies. Each is put into a copy of the project, and the fast tests of that part run there. A
mutant that no test notices survives: a test is missing, or the mutant changes nothing that matters,
and then `explained.toml` says why. The exit status is 1 if a survivor is not explained.

Outcomes are kept in var/mutants/SEED.jsonl, and a second run continues there. `--survivors` runs
the survivors of earlier runs again, after tests were added.
"""

# ruff: noqa: T201 - a command for people
import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "mutants"
EXPLAINED = Path(__file__).parent / "explained.toml"
KERNELS = ("state", "dynamic_layer")
"""The packages with compiled code."""
LIMIT_S = 600.0
"""A mutant whose tests take longer (an endless loop) counts as noticed."""


@dataclass(frozen=True)
class Part:
    """Modules, and the tests that have to notice a fault in them, quick ones first."""

    modules: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names.split())


PARTS = (
    Part(
        _in(
            "state",
            "actions batches blocks co_interactions commit_record deltas demand erasure histories"
            " history items kernel merge packing partition runs shown summing taken_state",
        ),
        (("tests/state",), ("tests/agents", "tests/simulated")),
    ),
    Part(
        _in("streams", "positions offsets spans partition_log erasing")
        + _in("agents", "erased erasure forgetting ingest outputs")
        + _in("state", "checkpoint manifest opening"),
        (("tests/agents", "tests/state/test_checkpoints.py"), ("tests/streams", "tests/simulated")),
    ),
    Part(
        _in("dynamic_layer/measure", "gate against_popularity intervals"),
        (
            _in("tests/dynamic_layer", "test_gate test_against_popularity test_intervals"),
            ("tests/dynamic_layer",),
        ),
    ),
    Part(
        _in(
            "dynamic_layer/policies",
            "columns expressions in_force limits masks parsing policy rules selection values",
        )
        + _in("dynamic_layer/serving", "policy_lists limited_lists cooling")
        + _in("agents", "policies"),
        (
            (
                "tests/agents/test_policies.py",
                *_in(
                    "tests/dynamic_layer",
                    "test_policy_expressions test_policy_lists test_cooling test_demotion"
                    " test_filtered_search",
                ),
            ),
            ("tests/dynamic_layer", "tests/segue/test_policies.py"),
        ),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; `noticed` names the first test that failed, or is empty."""

    module: str
    line: int
    operator: str
    before: str
    after: str
    text: str = ""
    noticed: str = ""

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.module}:{self.line}  {self.before}  =>  {self.after}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What `explained.toml` names a mutant by; a line's number changes too often."""
        return self.module, self.before, self.after


class Copy:
    """A copy of the project with its compiled kernels, where one mutant at a time is tried."""

    def __init__(self, folder: Path, of: Path = ROOT) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        if of == ROOT:
            self._copy_project()
        else:
            shutil.copytree(of, folder)
        self._users = _users(folder)

    def _copy_project(self) -> None:
        git = ["git", "ls-files", "-co", "--exclude-standard"]
        files = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
        compiled = [
            path.relative_to(ROOT).as_posix()
            for package in KERNELS
            for path in (ROOT / package).glob("**/__pycache__/*.nb*")
        ]
        for name in files.stdout.splitlines() + compiled:
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)

    def check(self, parts: Iterable[Part]) -> None:
        """Exit if the tests fail without a mutant: then they would notice each one."""
        for part in parts:
            if failed := self._run(part):
                sys.exit(f"{failed} fails in {self.folder} without a mutant; first make it pass")

    def outcome(self, mutant: Outcome) -> Outcome:
        """Put the mutant in, run its tests, and take it out; noticed or not."""
        path = self.folder / mutant.module
        original, stamp = path.read_bytes(), path.stat()
        path.write_text(mutant.text)
        self._forget_compiled(mutant.module)
        try:
            noticed = self._run(part_of(mutant.module))
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            self._forget_compiled(mutant.module)
        return replace(mutant, text="", noticed=noticed)

    def _run(self, part: Part) -> str:
        for tests in part.stages:
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
            environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
            try:
                run = subprocess.run(
                    command,
                    cwd=self.folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"no end within {LIMIT_S:.0f} s"
            if run.returncode:
                return _first_failure(run.stdout) or f"pytest ended with {run.returncode}"
        return ""

    def _forget_compiled(self, module: str) -> None:
        """Remove compiled kernels that may hold the module's code: numba looks at one file only."""
        for user in self._users.get(module, {module}):
            path = self.folder / user
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
                compiled.unlink()


def part_of(module: str) -> Part:
    """Return the part that a module is in."""
    return next(part for part in PARTS if module in part.modules)


def _users(folder: Path) -> dict[str, set[str]]:
    """Return by module the modules that import it, directly or through others, and itself."""
    imports = {}
    for path in folder.glob("[a-z]*/**/*.py"):
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in KERNELS:
            imports[name] = _imported(path, folder)
    users = {name: {name} for name in imports}
    changed = True
    while changed:
        changed = False
        for name, wanted in imports.items():
            for one in wanted & users.keys():
                if not users[name] <= users[one]:
                    users[one] |= users[name]
                    changed = True
    return users


def _imported(path: Path, folder: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            base = node.module.replace(".", "/")
            found |= {f"{base}.py"} | {f"{base}/{alias.name}.py" for alias in node.names}
    return {name for name in found if (folder / name).is_file()}


def _first_failure(output: str) -> str:
    failed = ("FAILED tests/", "ERROR tests/")
    lines = [line for line in output.splitlines() if line.startswith(failed)]
    return lines[0].split(" - ")[0].split(" ", 1)[1] if lines else ""


def drawn(seed: int, number: int) -> Iterator[Outcome]:
    """Yield the mutants that a seed draws, with the environment of cosmic-ray."""
    python = FOLDER / "python" / "bin" / "python"
    modules = [module for part in PARTS for module in part.modules]
    run = subprocess.run(
        [python, Path(__file__).parent / "draw.py", str(seed), str(number), *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in run.stdout.splitlines():
        yield Outcome(**json.loads(line))


def kept(path: Path) -> dict[tuple[str, str, str], Outcome]:
    """Return the outcomes of an earlier run with this seed."""
    if not path.is_file():
        return {}
    outcomes = [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]
    return {outcome.key: outcome for outcome in outcomes}


def tried(mutants: list[Outcome], copies: int) -> Iterator[Outcome]:
    """Yield the outcome of each mutant, from so many copies at a time."""
    first = Copy(FOLDER / "copy-0")
    first.check({part_of(mutant.module) for mutant in mutants})
    free: Queue[Copy] = Queue()
    for number in range(copies):
        free.put(Copy(FOLDER / f"copy-{number}", first.folder) if number else first)

    def one(mutant: Outcome) -> Outcome:
        copy = free.get()
        try:
            return copy.outcome(mutant)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(copies) as pool:
        yield from pool.map(one, mutants)


def main() -> int:
    """Draw, try and report; returns the exit status."""
    options = _options()
    path = FOLDER / f"{options.seed}.jsonl"
    before = kept(path)
    if options.survivors:
        before = {key: outcome for key, outcome in before.items() if outcome.noticed}
    mutants = list(drawn(options.seed, options.mutants))
    left = [mutant for mutant in mutants if mutant.key not in before]
    print(
        f"seed {options.seed}: {len(mutants)} mutants, {len(mutants) - len(left)} known", flush=True
    )
    outcomes, began = dict(before), time.monotonic()
    for number, outcome in enumerate(tried(left, options.copies), 1):
        outcomes[outcome.key] = outcome
        seconds = time.monotonic() - began
        print(
            f"{number} of {len(left)}, {seconds:.0f} s: {outcome.noticed or 'SURVIVED'}: {outcome}",
            flush=True,
        )
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes.values()))
    return report([outcomes[mutant.key] for mutant in mutants if mutant.key in outcomes])


def report(outcomes: list[Outcome]) -> int:
    """Print the survivors; returns 1 if one is not explained."""
    explained = {
        (one["module"], one["before"], one["after"]): one["why"]
        for one in tomllib.loads(EXPLAINED.read_text())["mutant"]
    }
    survivors = [outcome for outcome in outcomes if not outcome.noticed]
    unexplained = [outcome for outcome in survivors if outcome.key not in explained]
    for outcome in survivors:
        print(f"{explained.get(outcome.key, 'NOT EXPLAINED')}\n    {outcome}")
    print(
        f"{len(outcomes)} mutants: {len(outcomes) - len(survivors)} noticed,"
        f" {len(survivors) - len(unexplained)} explained, {len(unexplained)} not explained"
    )
    return 1 if unexplained else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="draws the mutants")
    parser.add_argument("--mutants", type=int, default=200, help="how many")
    parser.add_argument("--copies", type=int, default=1, help="mutants that are tried at a time")
    parser.add_argument(
        "--survivors", action="store_true", help="run survivors of earlier runs again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
