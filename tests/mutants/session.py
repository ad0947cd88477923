"""One run of pytest in a copy of the project, in a process that is forked from a warm one."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import Coverage

LIMIT_S = 1_200.0
"""A run that takes longer, as it waits for what never comes, is ended."""
SLACK_S = 10.0
"""CPU seconds that a test may take beyond five times its usual time; then it is ended."""
WAIT_S = 120.0
"""A test that waits for longer, beyond five times the longest usual time of a run, fails."""
WARM = ("numpy", "numba.core.compiler", "torch", "scipy.stats", "hypothesis", "pytest")
"""What takes seconds to import, belongs to others, and starts no threads."""


@dataclass(frozen=True)
class Run:
    """What pytest is to run.

    folder:    the copy of the project.
    tests:     files and folders with tests.
    usual_s:   if given, only these tests run, in this order; each with its usual seconds.
    slack_s:   CPU seconds that each may take beyond five times that; then the run is ended.
    coverage:  if given, the file to which lines are added that each test runs, of `modules`.
    """

    folder: Path
    tests: tuple[str, ...]
    usual_s: Mapping[str, float] = field(default_factory=dict)
    slack_s: float = SLACK_S
    coverage: Path | None = None
    modules: tuple[str, ...] = ()


@dataclass
class Result:
    """Seconds of the tests that passed, those that failed, and whether the process ended itself."""

    passed_s: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    ended: bool = False


def result_of(run: Run) -> Result:
    """Run the tests in a process of their own, to the first failure unless lines are noted."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(WARM))
    log = run.folder.with_name(f"{run.folder.name}.log")
    log.unlink(missing_ok=True)
    process = forks.Process(target=_run, args=(run, log))
    process.start()
    process.join(LIMIT_S if run.usual_s else None)
    with suppress(ProcessLookupError):  # also processes that tests have left
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    if not log.is_file():
        raise RuntimeError(f"no tests were started in {run.folder}: status {process.exitcode}")
    return _result(log)


def _result(log: Path) -> Result:
    result, began = Result(), ""
    for line in log.read_text().splitlines():
        what, test, seconds = json.loads(line)
        match what:
            case "began":
                began = test
            case "failed":
                result.failed.append(test)
            case "ended":
                result.passed_s[test] = seconds
            case _:
                result.ended = True
    for test in result.failed:
        result.passed_s.pop(test, None)
    if not result.ended and not result.failed:
        result.failed.append(f"{began or 'the start of pytest'} did not end")
    return result


class _Log:
    """The plugin that chooses tests and writes down what becomes of them."""

    def __init__(self, run: Run, log: Path) -> None:
        self._run, self._log = run, log.open("w", buffering=1)
        self._place = {test: place for place, test in enumerate(run.usual_s)}

    def say(self, what: str, test: str = "", seconds: float = 0.0) -> None:
        self._log.write(json.dumps([what, test, seconds]) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._place:
            items[:] = [item for item in items if item.nodeid in self._place]
            items.sort(key=lambda item: self._place[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        began = time.monotonic()
        self.say("began", item.nodeid)
        if self._place:
            usual = self._run.usual_s[item.nodeid]
            # The signal ends the process, also in an endless loop of a compiled kernel.
            signal.setitimer(signal.ITIMER_PROF, 5 * usual + self._run.slack_s)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.say("ended", item.nodeid, time.monotonic() - began)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.say("failed", report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say("failed", report.nodeid)


class _Lines:
    """The plugin that notes which test runs which lines."""

    def __init__(self, run: Run) -> None:
        self._coverage = Coverage(
            data_file=run.coverage,
            include=[str(run.folder / module) for module in run.modules],
            config_file=False,
        )
        if run.coverage.is_file():
            self._coverage.load()
        self._coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._coverage.switch_context(item.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()


def _run(run: Run, log: Path) -> None:
    """In the forked process: pytest, with the project's packages from the copy."""
    os.setsid()
    output = os.open(log.with_suffix(".txt"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    here = Path(__file__).resolve().parents[2]
    os.chdir(run.folder)
    os.environ |= {"PYTHONPATH": str(run.folder), "OMP_NUM_THREADS": "1"}
    sys.path[:] = [str(run.folder), *(path for path in sys.path if Path(path).resolve() != here)]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    options = ["-q", "-p", "no:cacheprovider", *run.tests]
    log_of_tests = _Log(run, log)
    plugins: list[object] = [log_of_tests]
    if run.coverage is None:
        longest = max(run.usual_s.values(), default=LIMIT_S)
        options += ["-x", f"--timeout={5 * longest + WAIT_S}"]
    else:
        plugins.append(_Lines(run))
    pytest.main(options, plugins=plugins)
    log_of_tests.say("over")
