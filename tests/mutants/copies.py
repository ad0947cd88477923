"""Copies of the project with its compiled kernels, where one mutant at a time is tried."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.kernels import Kernels
from tests.mutants.parts import KERNELS, Outcome

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "mutants"


class Copy:
    """A copy of the project, kept between runs; files that changed since are copied again."""

    def __init__(self, number: int) -> None:
        self.folder = FOLDER / f"copy-{number}"
        self._update()
        self._kernels = Kernels(self.folder)

    def compiles(self, mutant: Outcome) -> bool:
        """Return whether compiled code may hold the mutant's line."""
        return bool(self._kernels.holding(mutant.module, mutant.line))

    @contextmanager
    def mutated(self, mutant: Outcome) -> Iterator[None]:
        """Have the mutant's text in the copy."""
        path = self.folder / mutant.module
        original, stamp = path.read_bytes(), path.stat()
        with self._kernels.without(mutant):
            path.write_text(mutant.text)
            try:
                yield
            finally:
                path.write_bytes(original)
                os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    def _update(self) -> None:
        git = ["git", "ls-files", "-co", "--exclude-standard"]
        files = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True)
        wanted = {name for name in files.stdout.splitlines() if (ROOT / name).is_file()}
        stale = {name for name in wanted if not _same(ROOT / name, self.folder / name)}
        if any(name.split("/")[0] in KERNELS for name in stale):
            shutil.rmtree(self.folder, ignore_errors=True)
            stale = wanted | {
                path.relative_to(ROOT).as_posix()
                for package in KERNELS
                for path in (ROOT / package).glob("**/__pycache__/*.nb*")
            }
        for path in self.folder.glob("**/*.py"):
            if path.relative_to(self.folder).as_posix() not in wanted:
                path.unlink()
        for name in stale:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.folder / name)


def _same(one: Path, other: Path) -> bool:
    if not other.is_file():
        return False
    one_stat, other_stat = one.stat(), other.stat()
    return (one_stat.st_mtime_ns, one_stat.st_size) == (other_stat.st_mtime_ns, other_stat.st_size)
