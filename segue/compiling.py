"""Compiles all kernels before they are needed: `python -m segue.compiling`.

numba keeps compiled code beside the source. After an installation this takes more than a minute of
processor time, later two seconds. numba compiles in one thread, so there are two processes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import IO

__all__ = ["CompileError", "Compiling"]

#: Each about half of the work. Compiling leaves little for the garbage collector to free, and takes
#: an eighth less time without it.
_PARTS = (
    "import gc; gc.disable(); from state import compile_kernels; compile_kernels()",
    "import gc; gc.disable(); "
    "from streams.warming import compile_record_kernels; compile_record_kernels(); "
    "from static_layer import compile_graph_kernels; compile_graph_kernels(); "
    "from dynamic_layer import compile_list_kernels; compile_list_kernels()",
)
#: Seconds between two reports of progress.
_REPORT_S = 1.0


class CompileError(Exception):
    """The kernels cannot be compiled."""


class Compiling:
    """Compiles all kernels in two processes, from its creation until `wait` returns."""

    def __init__(self) -> None:
        """Start the processes."""
        self._running = [_started(part) for part in _PARTS]

    def wait(self, progress: Callable[[str, int, int], None]) -> None:
        """Wait for the end, with progress as (stage, parts done, parts).

        Raises CompileError where a process fails, also by `close` in another thread.
        """

        def report() -> None:
            done = sum(process.poll() is not None for process, _ in self._running)
            progress("compile", done, len(self._running))

        for process, said in self._running:
            while process.poll() is None:
                report()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_REPORT_S)
            if process.returncode:
                said.seek(0)
                last = said.read().strip().splitlines()[-1:] or [f"status {process.returncode}"]
                raise CompileError(f"the kernels cannot be compiled: {last[0]}")
        report()

    def close(self) -> None:
        """End what still runs."""
        for process, _ in self._running:
            process.kill()
            process.wait()


def _started(part: str) -> tuple["subprocess.Popen[str]", IO[str]]:
    """Start a process, and return it with the file of what it writes to its standard error."""
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the process writes to it
    command = [sys.executable, "-c", part]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, text=True), said  # noqa: S603 - fixed commands


def main() -> int:
    """Compile all kernels; return the exit status."""
    compiling = Compiling()
    try:
        compiling.wait(lambda _stage, _done, _parts: None)
    except CompileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        compiling.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
