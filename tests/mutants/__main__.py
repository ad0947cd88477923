"""Mutation testing of the code that promises most: `make mutants SEED=1 MUTANTS=200`.

A seed draws small faults (`<` for `<=`, 1 for 2) in the state kernels, positions, erasure, the gate
and policies. Each is put into a copy of the project, and the tests of that part run there: at first
those that run the mutant's line, until one fails. Tests that noticed other mutants of the module
come first, then quick ones. A mutant that none of them notices is tried once more, after all
others, with the rest of the tests; what passes all of them survives: a test is missing, or the
mutant changes nothing that matters. Then `explained.toml` says why, and it is not tried again. The
exit status is 1 if a survivor is not explained.

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
from tests.mutants.parts import MODULES, Outcome, own_tests, part_of
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
        self._first: dict[tuple[str, ...], list[str]] = {}
        first = Copy(0)
        self._known = KnownTests(first)
        for outcome in before:
            self._known.note(outcome)
        for number in range(copies):
            self._copies.put(Copy(number) if number else first)

    def outcomes(self, mutants: list[Outcome]) -> Iterator[Outcome]:
        """Yield each mutant's outcome, those first that a test of their line notices.

        At first only the tests of their own packages are measured and run.
        """
        left = []
        with ThreadPoolExecutor(self._number) as pool:
            for own in dict.fromkeys(own_tests(mutant.module) for mutant in mutants):
                self._known.measure(own)
                now = [mutant for mutant in mutants if own_tests(mutant.module) == own]
                for outcome in pool.map(self._tried_first, now):
                    if outcome.noticed:
                        yield outcome
                    else:
                        print(f"not noticed so far: {outcome}", flush=True)
                        left.append(outcome)
            for mutant in left:
                self._known.measure(part_of(mutant.module).tests)
            yield from pool.map(self._tried_last, left)

    def _tried_first(self, mutant: Outcome) -> Outcome:
        self._first[mutant.key] = self._known.in_order(mutant)[0]
        return self._tried(mutant, self._first[mutant.key])

    def _tried_last(self, mutant: Outcome) -> Outcome:
        done = set(self._first[mutant.key])
        ordered = [test for tests in self._known.in_order(mutant) for test in tests]
        return self._tried(mutant, [test for test in ordered if test not in done])

    def _tried(self, mutant: Outcome, tests: list[str]) -> Outcome:
        """Put the mutant in, and run the tests."""
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
            quick = not copy.compiles(mutant) or failed.startswith(own_tests(mutant.module))
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
            slack_s=SLACK_S + COMPILING_S * copy.compiles(mutant),
        )
        return next(iter(result_of(run).failed), "")


def main() -> int:
    """Draw, try and report; returns the exit status."""
    options = _options()
    path = FOLDER / f"{options.seed}.jsonl"
    before = kept(path)
    if options.survivors:
        before = {key: outcome for key, outcome in before.items() if outcome.noticed}
    mutants = list(drawn(options.seed, options.mutants))
    known = before.keys() | explanations().keys()
    left = [mutant for mutant in mutants if mutant.key not in known]
    print(
        f"seed {options.seed}: {len(mutants)} mutants, {len(mutants) - len(left)} known", flush=True
    )
    outcomes, began = dict(before), time.monotonic()
    left = [mutant for mutant in left if mutant.module.startswith(options.of)]
    tried = Trial(options.copies, noticed_before()).outcomes(left) if left else ()
    for number, outcome in enumerate(tried, 1):
        outcomes[outcome.key] = replace(outcome, text="")
        seconds = time.monotonic() - began
        print(
            f"{number} of {len(left)}, {seconds:.0f} s: {outcome.noticed or 'SURVIVED'}: {outcome}",
            flush=True,
        )
        path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes.values()))
    known |= outcomes.keys()
    return report([outcomes.get(one.key, one) for one in mutants if one.key in known])


def explanations() -> dict[tuple[str, ...], str]:
    """Return by mutant why it changes nothing that matters; it is not tried."""
    return {
        (one["module"], one["within"], one["before"], one["after"]): one["why"]
        for one in tomllib.loads(EXPLAINED.read_text())["mutant"]
    }


def report(outcomes: list[Outcome]) -> int:
    """Print the survivors; returns 1 if one is not explained."""
    explained = explanations()
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
    parser.add_argument("--of", default="", help="only of modules that begin so, as state/kernel")
    parser.add_argument("--copies", type=int, default=1, help="mutants that are tried at a time")
    parser.add_argument(
        "--survivors", action="store_true", help="run survivors of earlier runs again"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
