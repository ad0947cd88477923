"""Mutation testing of the code that promises most: `make mutants SEED=1 MUTANTS=200`.

A seed draws small faults (`<` for `<=`, 1 for 2) in the state kernels, positions, erasure, the gate
and policies. Each is put into a copy of the project, and the tests of that part run there: at first
those that run the mutant's line, until one fails. Tests that noticed other mutants of the module
come first, then quick ones. A mutant that none of them notices is tried once more, after all
others, with the rest of the tests; what passes all of them survives: a test is missing, or the
mutant changes nothing that matters, and then `explained.toml` says why. The exit status is 1 if a
survivor is not explained.

Outcomes are kept in var/mutants/SEED.jsonl, and a second run continues there. `--survivors` runs
the survivors of earlier runs again, after tests were added. Which test runs which lines is kept
beside them, and measured again where tests or code have changed.
"""

# ruff: noqa: T201 - a command for people
import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from queue import Queue

from tests.mutants.copies import FOLDER, ROOT, Copy
from tests.mutants.known_tests import KnownTests
from tests.mutants.parts import MODULES, PARTS, Outcome, part_of
from tests.mutants.session import SLACK_S, Run, result_of

EXPLAINED = Path(__file__).parent / "explained.toml"
COMPILING_S = 60.0
"""CPU seconds in which all kernels are compiled."""


def drawn(seed: int, number: int) -> Iterator[Outcome]:
    """Yield the mutants that a seed draws, with the environment of cosmic-ray."""
    python = FOLDER / "python" / "bin" / "python"
    run = subprocess.run(
        [python, Path(__file__).parent / "draw.py", str(seed), str(number), *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for line in run.stdout.splitlines():
        yield Outcome(**json.loads(line))


def kept(path: Path) -> dict[tuple[str, ...], Outcome]:
    """Return the outcomes of an earlier run with this seed."""
    if not path.is_file():
        return {}
    outcomes = [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]
    return {outcome.key: outcome for outcome in outcomes}


def noticed_before() -> Iterator[Outcome]:
    """Yield the mutants of all seeds that tests noticed."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        yield from (outcome for outcome in kept(path).values() if outcome.noticed)


class Trial:
    """Mutants that are tried in copies of the project, as many at a time as there are copies."""

    def __init__(self, copies: int, before: Iterable[Outcome]) -> None:
        self._copies: Queue[Copy] = Queue()
        self._number = copies
        first = Copy(0)
        self._known = KnownTests(first)
        for outcome in before:
            self._known.note(outcome)
        for number in range(copies):
            self._copies.put(Copy(number) if number else first)

    def outcomes(self, mutants: list[Outcome]) -> Iterator[Outcome]:
        """Yield each mutant's outcome, those first that a test of their line notices.

        The parts whose tests are fewest folders come first: they are measured soonest.
        """
        left = []
        with ThreadPoolExecutor(self._number) as pool:
            for part in sorted(PARTS, key=lambda part: part.folders):
                of_part = [mutant for mutant in mutants if part_of(mutant.module) is part]
                if of_part:
                    self._known.measure(part)
                for outcome in pool.map(lambda mutant: self._tried(mutant, 0), of_part):
                    if outcome.noticed:
                        yield outcome
                    else:
                        print(f"not noticed so far: {outcome}", flush=True)
                        left.append(outcome)
            yield from pool.map(lambda mutant: self._tried(mutant, 1), left)

    def _tried(self, mutant: Outcome, which: int) -> Outcome:
        """Put the mutant in, and run its first tests, or the others."""
        tests = self._known.in_order(mutant)[which]
        copy = self._copies.get()
        try:
            with copy.mutated(mutant):
                noticed = self._first_failure(copy, mutant, tests)
        finally:
            self._copies.put(copy)
        outcome = replace(mutant, noticed=noticed)
        if noticed:
            self._known.note(outcome)
        return outcome

    def _first_failure(self, copy: Copy, mutant: Outcome, tests: list[str]) -> str:
        """Return the test that notices the mutant, the first one.

        While kernels are compiled, a test of processes or requests may fail as it waits too long:
        it counts only if it fails again, with compiled ones.
        """
        while failed := self._failure(copy, mutant, tests):
            quick = not copy.compiles(mutant.module) or failed.startswith(_own_tests(mutant))
            if quick or failed not in tests or self._failure(copy, mutant, [failed]):
                return failed
            tests = tests[tests.index(failed) + 1 :]
        return ""

    def _failure(self, copy: Copy, mutant: Outcome, tests: list[str]) -> str:
        if not tests:
            return ""
        run = Run(
            copy.folder,
            tuple(dict.fromkeys(test.split("::")[0] for test in tests)),
            usual_s={test: self._known.usual_s[test] for test in tests},
            slack_s=SLACK_S + COMPILING_S * copy.compiles(mutant.module),
        )
        return next(iter(result_of(run).failed), "")


def _own_tests(mutant: Outcome) -> str:
    """The folder with tests of the mutant's package, which wait for nothing."""
    return f"tests/{mutant.module.split('/')[0]}/"


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
    tried = Trial(options.copies, noticed_before()).outcomes(left) if left else ()
    for number, outcome in enumerate(tried, 1):
        outcomes[outcome.key] = replace(outcome, text="")
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
        (one["module"], one["within"], one["before"], one["after"]): one["why"]
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
