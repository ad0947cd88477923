"""Programs use the glossary's terms: strings and docstrings of packages, pages of the console."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_documentation import retired_terms

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "segue",
    "console",
    "agents",
    "simulation",
    "evaluation",
    "dynamic_layer",
    "static_layer",
    "state",
    "streams",
]
PROGRAMS = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
STATIC = [
    file
    for file in sorted((ROOT / "console" / "static").rglob("*"))
    if file.suffix in {".js", ".html"} and "vendor" not in file.parts
]
#: Names that a column of a user can have; the name of an attribute; settings of the broker.
EXCEPTED = {
    ("segue/columns.py", "news"),
    ("segue/columns.py", "listener"),
    ("segue/commands/simulate.py", "news"),  # the name of a world
    ("simulation/settings.py", "news"),
    ("agents/training/cadence.py", "news"),
    ("evaluation/lightgcn.py", "he"),  # an author
    ("streams/broker.py", "listener"),
    ("streams/broker.py", "listeners"),
}
RETIRED = re.compile(
    rf"(?<![\w/.-])(?:{'|'.join(sorted(retired_terms()))})s?(?![\w-])", re.IGNORECASE
)


def strings(source: str) -> list[str]:
    nodes = ast.walk(ast.parse(source))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def retired_in(text: str) -> set[str]:
    """Retired terms in a text of several words; code in backquotes and paths do not count."""
    words = re.sub(r"`[^`]*`|^ *>>>.*$", "", text, flags=re.MULTILINE)
    if " " not in words.strip():
        return set()
    return {match[0].lower() for match in RETIRED.finditer(words)}


@pytest.mark.parametrize("file", PROGRAMS + STATIC, ids=lambda file: str(file.relative_to(ROOT)))
def test_programs_use_no_retired_term(file):
    source = file.read_text()
    name = str(file.relative_to(ROOT))
    texts = strings(source) if file.suffix == ".py" else source.splitlines()
    found = {term for text in texts for term in retired_in(text)}
    assert {term for term in found if (name, term) not in EXCEPTED} == set()


def test_retired_terms_are_found_in_strings_and_not_in_names():
    source = 'def nobody():\n    """Waits for ever."""\n    return "whoever", "rooms `anew` fill"'
    assert [sorted(retired_in(text)) for text in strings(source)] == [["for ever"], [], ["rooms"]]
