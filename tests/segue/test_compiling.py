"""`python -m segue.compiling`: the kernels are compiled in two processes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from segue import compiling
from segue.compiling import CompileError, Compiling, main


def _parts(monkeypatch: pytest.MonkeyPatch, *parts: str) -> None:
    monkeypatch.setattr(compiling, "_PARTS", parts)


def test_progress_is_reported_until_all_parts_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    _parts(monkeypatch, "pass", "pass")
    seen: list[tuple[str, int, int]] = []
    Compiling().wait(lambda *report: seen.append(report))
    assert {(stage, parts) for stage, _, parts in seen} == {("compile", 2)}
    assert seen[-1] == ("compile", 2, 2)
    assert seen == sorted(seen)


def test_a_part_that_fails_is_an_error_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _parts(monkeypatch, "pass", "raise OSError('no space left')")
    with pytest.raises(CompileError, match="the kernels cannot be compiled: OSError: no space"):
        Compiling().wait(lambda *_: None)
    assert main() == 1
    assert capsys.readouterr().err == ("the kernels cannot be compiled: OSError: no space left\n")


def test_a_run_that_ends_early_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    _parts(monkeypatch, "import time; time.sleep(600)", "pass")
    running = Compiling()
    running.close()
    assert all(process.returncode is not None for process, _ in running._running)


def test_a_thread_that_waits_is_released_when_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    _parts(monkeypatch, "import time; time.sleep(600)")
    running = Compiling()
    waits = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(running.wait, lambda *_: waits.set())
        assert waits.wait(30)
        running.close()
        with pytest.raises(CompileError):
            ended.result(30)
