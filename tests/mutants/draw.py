"""Draws mutants; runs in the environment of cosmic-ray, which nothing else here needs.

`python tests/mutants/draw.py SEED NUMBER MODULE...` prints one JSON object per mutant: module,
line, function, operator, the line before and after, and the module's mutated text. A place in the
code is drawn once, and each place is equally likely; then one of the operators that apply to it is.
What Python refuses to compile is no mutant.
"""

import ast
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

# Faults that people make. Most of cosmic-ray's others (`+` as `<<`) fail at once in any test.
COMPARISONS = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE")
ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Mul_Add", "FloorDiv_Mul", "Div_Mul", "Mod_FloorDiv")
BITS = ("BitAnd_BitOr", "BitOr_BitAnd", "RShift_LShift", "LShift_RShift", "BitXor_BitOr")
OPERATORS = [
    *(
        f"ReplaceComparisonOperator_{one}_{other}"
        for one in COMPARISONS
        for other in COMPARISONS
        if one != other
    ),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ARITHMETIC + BITS),
    "ReplaceUnaryOperator_USub_UAdd",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "AddNot",
    "NumberReplacer",
    "ZeroIterationForLoop",
]
Place = tuple[int, int]


class _Places(Visitor):
    """Where an operator applies, in the order that `mutate_code` numbers."""

    def __init__(self, operator: object) -> None:
        self.operator = operator
        self.found: list[Place] = []

    def visit(self, node: object) -> object:
        self.found += [start for start, _ in self.operator.mutation_positions(node)]
        return node


def excluded(text: str) -> list[tuple[Place, Place]]:
    """Return the spans where a mutation is no fault: types, decorators, messages, logging."""
    parts: list[ast.AST | None] = []
    spans: list[tuple[Place, Place]] = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                parts += node.decorator_list
                spans += _between_defaults(node)
            case ast.ClassDef():
                parts += node.decorator_list
            case ast.keyword(arg="strict"):
                parts.append(node)
            case ast.AnnAssign():
                parts.append(node.annotation)
            case ast.Raise():
                parts.append(node.exc)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"))):
                parts.append(node)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                parts.append(node)
    return spans + [_span(part) for part in parts if part is not None]


def _span(node: ast.AST) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _between_defaults(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
) -> list[tuple[Place, Place]]:
    """Return the spans of a function's head without its defaults: types, and `*`, no product."""
    arguments = function.args
    defaults = sorted(_span(one) for one in arguments.defaults + arguments.kw_defaults if one)
    begins = [(function.lineno, function.col_offset), *(end for _, end in defaults)]
    ends = [*(begin for begin, _ in defaults), _span(function.body[0])[0]]
    return list(zip(begins, ends, strict=True))


def sites(module: str) -> dict[Place, list[tuple[str, int]]]:
    """Return by place the operators that apply there, each with its number of occurrence."""
    text = Path(module).read_text()
    spans = excluded(text)
    tree = get_ast(text)
    by_place = defaultdict(list)
    for name in OPERATORS:
        places = _Places(get_operator(f"core/{name}")())
        places.walk(tree)
        for occurrence, place in enumerate(places.found):
            if not any(start <= place < end for start, end in spans):
                by_place[place].append((name, occurrence))
    return by_place


def mutants(seed: int, number: int, modules: list[str]) -> Iterator[dict[str, object]]:
    """Yield the mutants that a seed draws."""
    found = {module: sites(module) for module in modules}
    places = [(module, place) for module in modules for place in sorted(found[module])]
    chance = random.Random(seed)
    chance.shuffle(places)
    for module, place in places:
        if not number:
            return
        name, occurrence = chance.choice(found[module][place])
        before = Path(module).read_text()
        after = mutate_code(before, get_operator(f"core/{name}")(), occurrence)
        if after is None or after == before or not _is_python(after):
            continue
        number -= 1
        one, other = before.splitlines(), after.splitlines()
        at = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        yield {
            "module": module,
            "line": at + 1,
            "within": within(before, at + 1),
            "operator": name,
            "before": one[at].strip(),
            "after": other[at].strip(),
            "text": after,
        }


def within(text: str, line: int) -> str:
    """Return the name of the function that a line is in, with its class; empty outside of any."""
    names = [
        (node.lineno, node.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.lineno <= line <= node.end_lineno
    ]
    return ".".join(name for _, name in sorted(names))


def _is_python(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:
        return False
    return True


if __name__ == "__main__":
    for mutant in mutants(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]):
        sys.stdout.write(json.dumps(mutant) + "\n")
