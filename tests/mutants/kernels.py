"""Which compiled kernels hold a line's code: all others stay compiled while its mutants are tried.

Numba keeps a kernel's code beside its module, with the digest of the module's source. It compares
neither that of modules whose functions the kernel holds, nor functions within one source.
"""

import ast
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numba.core.caching import IndexDataCacheFile

from tests.mutants.parts import KERNELS, Outcome


class Kernels:
    """The functions of a copy of the project that are compiled, and what each may hold.

    Functions and constants are told apart by their names alone, so that a kernel may be compiled
    again that holds another function of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uses: dict[str, set[str]] = {}
        self._compiled: set[str] = set()
        for package in KERNELS:
            for path in folder.glob(f"{package}/**/*.py"):
                for statement in ast.parse(path.read_text()).body:
                    self._note(statement)

    def holding(self, module: str, line: int) -> set[str]:
        """Return the names of the kernels that may hold the code of a line."""
        body = ast.parse((self._folder / module).read_text()).body
        changed = [one for one in body if _begin(one) <= line <= (one.end_lineno or one.lineno)]
        names = {name for one in changed if _defines(one) for name in _named(one)}
        if not names:  # any statement that runs at import
            names = {name for one in body for name in _named(one)}
        found: set[str] = set()
        while names:
            found |= names
            names = {name for name, used in self._uses.items() if used & names} - found
        return found & self._compiled

    @contextmanager
    def without(self, mutant: Outcome) -> Iterator[None]:
        """Keep away the code of kernels that may hold a mutant's line; afterwards it is back."""
        module, holding = self._folder / mutant.module, self.holding(mutant.module, mutant.line)
        before, changed = set(self._files()), {}
        for path in before:
            # state/__pycache__/kernel.apply_events-242.py311.nbi, and .1.nbc with the code
            kernel = path.name.split(".")[1].rpartition("-")[0]
            own = path.parents[1] / f"{path.name.split('.')[0]}.py" == module
            if kernel in holding or (own and path.suffix == ".nbi"):
                changed[path] = path.read_bytes()
            if kernel in holding:
                path.unlink()
            elif path in changed:
                _now_of(path, module.read_bytes(), mutant.text.encode())
        try:
            yield
        finally:
            for path in set(self._files()) - before:
                path.unlink()
            for path, content in changed.items():
                path.write_bytes(content)

    def _files(self) -> Iterator[Path]:
        for package in KERNELS:
            yield from self._folder.glob(f"{package}/**/__pycache__/*.nb[ci]")

    def _note(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                if alias.asname:
                    self._uses.setdefault(alias.asname, set()).add(alias.name)
        elif _defines(statement):
            used = _used(statement)
            for name in _named(statement):
                self._uses.setdefault(name, set()).update(used)
            if isinstance(statement, ast.FunctionDef):
                decorators = " ".join(map(ast.unparse, statement.decorator_list))
                self._compiled |= {statement.name} if "jit" in decorators else set()


def _defines(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign)


def _begin(statement: ast.stmt) -> int:
    """Return the first line of a statement, with its decorators."""
    return min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])


def _named(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a module gives something."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _used(statement: ast.stmt) -> set[str]:
    """Return the names of a module, or of one that it imports, that a statement uses."""
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    of_modules = {
        node.attr
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return {name.id for name in names} - own | of_modules


def _now_of(index: Path, source: bytes, other: bytes) -> None:
    """Have code that was compiled from one source count as that of another."""
    cache = IndexDataCacheFile(str(index.parent), index.stem, hashlib.sha256(source).digest())
    code = cache._load_index()  # no public way leads to what numba keeps
    cache._source_stamp = hashlib.sha256(other).digest()
    cache._save_index(code)
