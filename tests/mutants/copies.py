"""Copies of the project with its compiled kernels, where one mutant at a time is tried."""

import ast
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.parts import KERNELS, Outcome

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "mutants"


class Copy:
    """A copy of the project, kept between runs; files that changed since are copied again."""

    def __init__(self, number: int) -> None:
        self.folder = FOLDER / f"copy-{number}"
        self._update()
        self._users = _users(self.folder)

    def compiles(self, module: str) -> bool:
        """Return whether compiled code may hold the module's."""
        users = self._users.get(module, ())
        return any("njit" in (self.folder / user).read_text() for user in users)

    @contextmanager
    def mutated(self, mutant: Outcome) -> Iterator[None]:
        """Have the mutant's text in the copy."""
        path = self.folder / mutant.module
        original, stamp = path.read_bytes(), path.stat()
        with self._compiled_aside(mutant.module):
            path.write_text(mutant.text)
            try:
                yield
            finally:
                path.write_bytes(original)
                os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    @contextmanager
    def _compiled_aside(self, module: str) -> Iterator[None]:
        """Keep away kernels that may hold the module's code: numba looks at one file only."""
        users = [self.folder / user for user in self._users.get(module, {module})]
        with tempfile.TemporaryDirectory(dir=FOLDER) as aside:
            kept = {
                Path(aside, str(number)): path
                for number, path in enumerate(path for user in users for path in _compiled(user))
            }
            for place, path in kept.items():
                path.rename(place)
            try:
                yield
            finally:
                for user in users:
                    for path in _compiled(user):
                        path.unlink()
                for place, path in kept.items():
                    place.rename(path)

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


def _compiled(path: Path) -> Iterator[Path]:
    return (path.parent / "__pycache__").glob(f"{path.stem}.*")


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
