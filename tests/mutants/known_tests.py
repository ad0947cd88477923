"""Which tests run which lines, and how long each test takes; measured again where files changed."""

# ruff: noqa: T201 - for a command for people
import ast
import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData

from tests.mutants.copies import FOLDER, Copy
from tests.mutants.parts import MODULES, Outcome, part_of
from tests.mutants.session import Run, result_of

FIRST_S = 60.0
"""Usual seconds of the tests of a line that are tried on every mutant before the others on any."""


class KnownTests:
    """The tests of parts, kept in var/mutants. What fails without a mutant is left out."""

    def __init__(self, copy: Copy) -> None:
        self._folder = copy.folder
        self._texts = {module: (copy.folder / module).read_text() for module in MODULES}
        self._kept, self._lines = FOLDER / "tests.json", FOLDER / "lines.coverage"
        kept = json.loads(self._kept.read_text()) if self._kept.is_file() else {}
        before: dict[str, str] = kept.get("files", {})
        self._files = _digests(copy.folder)
        self.usual_s: dict[str, float] = kept.get("usual_s", {})
        self._measured: list[str] = kept.get("measured", [])
        self._noticed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        both = self._files | before
        self._measure_changed(
            name for name in sorted(both) if self._files.get(name) != before.get(name)
        )
        self._data = CoverageData(str(self._lines))

    def measure(self, files: Iterable[str]) -> None:
        """Run files or folders with tests that were not run yet; the copy must hold no mutant."""
        for tests in files:
            if not tests.startswith(tuple(self._measured)):
                self._measured.append(tests)
                self._measure([tests])
        self._data = CoverageData(str(self._lines))
        self._data.read()

    def note(self, outcome: Outcome) -> None:
        """Have a test that noticed a mutant run early on others of the same module."""
        self._noticed[outcome.module][outcome.noticed] += 1

    def _measure_changed(self, changed: Iterable[str]) -> None:
        """Forget all, or what a folder's tests do, or run files with tests again."""
        files = []
        for name in changed:
            if not name.startswith("tests/") or name.count("/") == 1:
                self._measured.clear()
                self._lines.unlink(missing_ok=True)
            elif Path(name).name.startswith("test_"):
                files.append(name)
            else:  # what tests of its folder share
                folder = name.rpartition("/")[0] + "/"
                self._measured = [
                    of
                    for of in self._measured
                    if not (name.startswith(of) or of.startswith(folder))
                ]
        self.usual_s = {test: self.usual_s[test] for test in _of(self.usual_s, self._measured)}
        if again := _of(files, self._measured):
            self._measure(again)

    def in_order(self, mutant: Outcome) -> tuple[list[str], list[str]]:
        """Return the tests of the mutant's part that were measured: those of the line, and others.

        The first of the two holds tests that run the mutant's line, up to FIRST_S. Those that
        noticed other mutants of the module come first, then quick ones. Which tests run a compiled
        line is not known: there they are any tests, in the order of the part's folders; in each
        folder those of files that name the module come first.
        """
        folders = part_of(mutant.module).tests
        of_part = _of(self.usual_s, folders)
        of_line = self._running(mutant)
        noticed = self._noticed[mutant.module]

        def place(test: str) -> tuple[int, bool, float]:
            if times := noticed[test]:
                return -1, False, self.usual_s[test] / times
            if of_line:
                return 0, False, self.usual_s[test]
            folder = next(n for n, folder in enumerate(folders) if test.startswith(folder))
            return folder, not self._names(test, mutant.module), self.usual_s[test]

        running = of_line or {*of_part}
        tests = sorted(of_part, key=place)
        first, seconds = [], 0.0
        for test in tests:
            if test in running and seconds <= FIRST_S:
                first.append(test)
                seconds += self.usual_s[test]
        return first, [test for test in tests if test not in set(first)]

    def _running(self, mutant: Outcome) -> set[str]:
        """Return the tests that run a mutant's line; none if the line was compiled."""
        tests_of = self._data.contexts_by_lineno(str(self._folder / mutant.module))
        lines = lines_with(self._texts[mutant.module], mutant.line) or tests_of
        return {test for line in lines for test in tests_of.get(line, ())} & self.usual_s.keys()

    def _names(self, test: str, module: str) -> bool:
        """Return whether a test's file names a module."""
        file = test.partition("::")[0]
        if file not in self._texts:
            self._texts[file] = (self._folder / file).read_text()
        return module.removesuffix(".py").replace("/", ".") in self._texts[file]

    def _measure(self, tests: list[str]) -> None:
        """Run files or folders with tests, and keep what they do in the place of what they did."""
        for test in _of(self.usual_s, tests):
            del self.usual_s[test]
        if there := [name for name in tests if (self._folder / name).exists()]:
            print(f"runs {' '.join(there)} without a mutant", flush=True)
            run = Run(self._folder, tuple(there), coverage=self._lines, modules=MODULES)
            result = result_of(run)
            log = self._folder.with_suffix(".txt")
            if not result.ended:
                sys.exit(f"the tests end without a mutant, see {log}: {', '.join(result.failed)}")
            if result.failed:
                print(f"left out, as they fail without a mutant, see {log}:", *result.failed)
            self.usual_s |= result.passed_s
        kept = {"files": self._files, "usual_s": self.usual_s, "measured": self._measured}
        self._kept.write_text(json.dumps(kept))


def _of(tests: Iterable[str], places: Iterable[str]) -> list[str]:
    return [test for test in tests if test.startswith(tuple(places))]


def _digests(folder: Path) -> dict[str, str]:
    """Return by file a digest of its content, of all Python files."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("**/*.py")
    }


def lines_with(text: str, line: int) -> list[int]:
    """Return the lines of the statement that a line is in; none if it is run at import."""
    tree = ast.parse(text)
    within = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in within):
        return []
    inner = min(within, key=lambda node: (node.end_lineno or node.lineno) - node.lineno)
    end = inner.end_lineno or inner.lineno
    body = getattr(inner, "body", None)
    if body and not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
        end = body[0].lineno - 1
    return list(range(inner.lineno, max(end, inner.lineno) + 1))
