"""Compiles all kernels before they are needed: `python -m segue.compiling`.

numba keeps compiled code beside the source. After an installation this takes more than a minute of
processor time, later two seconds. numba compiles in one thread, so there are two processes.
"""

import subprocess
import sys
from collections.abc import Callable

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
        self._running = [
            subprocess.Popen(  # noqa: S603 - fixed commands
                [sys.executable, "-c", part],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for part in _PARTS
        ]  # fmt: skip

    def wait(self, progress: Callable[[str, int, int], None]) -> None:
        """Wait for the end, with progress as (stage, parts done, parts); raises CompileError."""

        def report() -> None:
            done = sum(process.poll() is not None for process in self._running)
            progress("compile", done, len(self._running))

        for process in self._running:
            said = self._said(process, report)
            if process.returncode:
                last = said.strip().splitlines()[-1:] or [f"status {process.returncode}"]
                raise CompileError(f"the kernels cannot be compiled: {last[0]}")
        report()

    @staticmethod
    def _said(process: "subprocess.Popen[str]", waiting: Callable[[], None]) -> str:
        """Return what a process wrote to its standard error until its end."""
        while True:
            waiting()
            try:
                return process.communicate(timeout=_REPORT_S)[1]
            except subprocess.TimeoutExpired:
                continue

    def close(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.communicate()


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
