"""Expressions over items, users and requests: SQL's WHERE, checked and compiled, never evaluated.

The parser is sqlglot's. What it reads is a tree of which a small part is allowed; each node is
checked for its type and becomes a function over columns (`values`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlglot import exp

from dynamic_layer.policies.columns import BUILT_IN, time_ms
from dynamic_layer.policies.constants import null_constant
from dynamic_layer.policies.moment import Moment
from dynamic_layer.policies.parsing import Source, is_text
from dynamic_layer.policies.values import (
    Truth,
    agree,
    all_of,
    among,
    arithmetic,
    codes_of,
    compared,
    equal_texts,
    first_known,
    is_in,
    is_null,
    like,
    lowered,
    matches,
    number_of,
    overlap,
    time_of,
    truth_of,
)

__all__ = ["FUNCTIONS", "REQUEST", "USER", "Expression", "compile_expression"]

#: Attributes of the user record itself, and their types.
USER = {"country": "text", "birth_year": "number"}
REQUEST = {
    "now": "time", "surface": "text", "device": "text", "hour": "number", "weekday": "number",
}  # fmt: skip
#: What a condition can be built from, besides attributes and operators.
FUNCTIONS = (
    "arrays_overlap", "between", "coalesce", "current_timestamp", "in", "interval", "is not null",
    "is null", "like", "lower", "timestamp",
)  # fmt: skip

DEEPEST = 150  # operators inside one another, as in a + a + a
_UNIT_MS = {
    "SECOND": 1e3, "MINUTE": 6e4, "HOUR": 3.6e6, "DAY": 8.64e7, "WEEK": 6.048e8,
}  # fmt: skip
_COMPARISONS = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_NUMERIC = ("number", "time", "duration")
#: (operator, left, right) -> type of the result.
_RESULTS = {
    **{(name, "number", "number"): "number" for name in "+-*/%"},
    ("+", "time", "duration"): "time",
    ("-", "time", "duration"): "time",
    ("+", "duration", "time"): "time",
    ("-", "time", "time"): "duration",
    ("+", "duration", "duration"): "duration",
    ("-", "duration", "duration"): "duration",
    ("*", "duration", "number"): "duration",
    ("*", "number", "duration"): "duration",
    ("/", "duration", "number"): "duration",
    ("/", "duration", "duration"): "number",
}
_Run = Callable[[Moment], Any]


class _Node(NamedTuple):
    type: str
    run: _Run


@dataclass(frozen=True, kw_only=True, eq=False)
class Expression:
    """A condition over items, compiled.

    text: as it was written; user: the `user.NAME` and `request.NAME` that it reads, without the
    time, with their types; timed: whether it reads the time; items: names of item attributes;
    without_value: places of constant parts that are NULL, such as `1 / 0`.
    """

    text: str
    user: Mapping[str, str]
    timed: bool
    items: frozenset[str]
    without_value: tuple[str, ...]
    _run: _Run = field(repr=False)

    def __call__(self, moment: Moment) -> NDArray[np.bool_]:
        """Return for which items it holds, bool [m]; what is unknown does not hold."""
        size = len(moment.columns.keys[moment.slots])
        with np.errstate(all="ignore"):
            return np.broadcast_to(self._run(moment).true, (size,)).copy()


def compile_expression(text: str, types: Mapping[str, str], where: str) -> Expression:
    """Return a condition, checked against the types of attributes (`item.NAME`, `user.NAME`).

    where: what the message of an error begins with. Raises PolicyError with line and column.
    """
    return _Compiler(text, types, where).compile()


class _Compiler:
    def __init__(self, text: str, types: Mapping[str, str], where: str) -> None:
        self._source = Source(text, where)
        self._bad = self._source.bad
        self._types = {f"item.{name}": of for name, of in BUILT_IN.items()}
        self._types |= {f"user.{name}": of for name, of in USER.items()}
        self._types |= {f"request.{name}": of for name, of in REQUEST.items()}
        self._types = {**types, **self._types}
        self._user: dict[str, str] = {}
        self._items: set[str] = set()
        self._timed = False
        self._without_value: list[str] = []

    def compile(self) -> Expression:
        tree = self._source.parse()
        found = self._node(tree, 0)
        self._expect(found, tree, "boolean")
        return Expression(
            text=self._source.text, user=self._user, timed=self._timed,
            items=frozenset(self._items), without_value=tuple(self._without_value),
            _run=found.run,
        )  # fmt: skip

    def _expect(self, found: _Node, node: exp.Expr, *types: str) -> _Node:
        if found.type not in types:
            raise self._bad(node, f"expected {' or '.join(types)}, got {found.type}")
        return found

    # Nodes

    def _node(self, node: Any, depth: int) -> _Node:
        if depth > DEEPEST:
            raise self._bad(node, f"more than {DEEPEST} operators inside one another")
        for kinds, method in _METHODS:
            if isinstance(node, kinds):
                self._check_arguments(node)
                return method(self, node, depth + 1)
        name = node.name if isinstance(node, exp.Anonymous) else type(node).__name__
        raise self._bad(node, f"{name} is not part of the language; see docs/policies.md")

    def _check_arguments(self, node: exp.Expr) -> None:
        """Refuse what a node says besides what is read of it: it would mean something else."""
        read = {"this", "expression", "expressions"} | _ARGUMENTS.get(type(node), set())
        for name, value in node.args.items():
            if name not in read and value not in (None, False, []):
                what = type(node).__name__
                raise self._bad(node, f"{name} of {what} is not part of the language")

    def _truth(self, node: exp.Expr, depth: int) -> _Node:
        return self._expect(self._node(node, depth), node, "boolean")

    def _connected(self, node: exp.Connector, depth: int) -> _Node:
        parts = [self._truth(part, depth).run for part in node.flatten()]
        if isinstance(node, exp.And):
            return _Node("boolean", lambda m: all_of([part(m) for part in parts]))
        return _Node("boolean", lambda m: ~all_of([~part(m) for part in parts]))

    def _not(self, node: exp.Not, depth: int) -> _Node:
        run = self._truth(node.this, depth).run
        return _Node("boolean", lambda m: ~run(m))

    def _paren(self, node: exp.Paren, depth: int) -> _Node:
        return self._node(node.this, depth)

    def _column(self, node: exp.Column, depth: int) -> _Node:
        name = ".".join(part.name for part in node.parts)
        of = self._types.get(name)
        owner, _, attribute = name.partition(".")
        if of is None:
            known = sorted(one for one in self._types if one.startswith(owner + "."))
            hint = f"; known: {', '.join(known[:20])}" if known else ""
            raise self._bad(
                node, f"there is no {name[:80]!r}; names are item.X, user.X and request.X{hint}"
            )
        if of == "title":
            raise self._bad(node, f"{name} can only stand in `same`")
        if name == "request.now":
            self._timed = True
            return _Node(of, lambda m: np.float64(m.now_ms))
        if owner != "item":
            self._user[name] = of
            read: _Run = lambda m: m.bound.get(name)  # noqa: E731
            return _Node(of, (lambda m: truth_of(read(m))) if of == "boolean" else read)
        self._items.add(attribute)
        return _Node(of, _reader(attribute, of))

    def _literal(self, node: exp.Literal, depth: int) -> _Node:
        if node.is_string:
            text = str(node.this)
            return _Node("text", lambda _: text)
        try:
            number = float(node.this)
        except ValueError as error:
            raise self._bad(node, f"expected a number, got {node.this}") from error
        if not np.isfinite(number):
            raise self._bad(node, f"expected a finite number, got {node.this}")
        return _Node("number", lambda _: np.float64(number))

    def _boolean(self, node: exp.Boolean, depth: int) -> _Node:
        truth = Truth.of(bool(node.this))
        return _Node("boolean", lambda _: truth)

    def _now(self, node: exp.Expr, depth: int) -> _Node:
        self._timed = True
        return _Node("time", lambda m: np.float64(m.now_ms))

    def _cast(self, node: exp.Cast, depth: int) -> _Node:
        """TIMESTAMP '...' and DATE '...' alone."""
        text = node.this
        if not (
            isinstance(text, exp.Literal)
            and text.is_string
            and node.to.is_type("timestamp", "timestamptz", "date")
        ):
            raise self._bad(node, "expected TIMESTAMP or DATE and a text; nothing else is cast")
        at = time_ms(str(text.this))
        if np.isnan(at):
            raise self._bad(text, f"expected a time in ISO 8601, got {text.this!r}")
        return _Node("time", lambda _: np.float64(at))

    def _interval(self, node: exp.Interval, depth: int) -> _Node:
        unit = str(node.args.get("unit") or "").upper().removesuffix("S")
        try:
            length = float(node.this.this) * _UNIT_MS[unit]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            units = ", ".join(_UNIT_MS)
            raise self._bad(node, f"expected INTERVAL 'NUMBER' and one of {units}") from error
        if not np.isfinite(length):
            self._without_value.append(str(self._bad(node, "the length is not a finite number")))
            length = np.nan
        return _Node("duration", lambda _: np.float64(length))

    def _negative(self, node: exp.Neg, depth: int) -> _Node:
        found = self._expect(self._node(node.this, depth), node, "number", "duration")
        return _Node(found.type, lambda m: -number_of(found.run(m)))

    def _arithmetic(self, node: exp.Binary, depth: int) -> _Node:
        name = _ARITHMETIC[type(node)]
        left, right = self._node(node.left, depth), self._node(node.right, depth)
        of = _RESULTS.get((name, left.type, right.type))
        if of is None:
            raise self._bad(node, f"there is no {left.type} {name} {right.type}")
        run: _Run = lambda m: arithmetic(name, number_of(left.run(m)), number_of(right.run(m)))  # noqa: E731
        # No error: versions on the topic that an earlier release accepted stay in force.
        if (fault := null_constant(node, name, left.run, right.run)) is not None:
            self._without_value.append(str(self._bad(*fault)))
        return _Node(of, run)

    def _comparison(self, node: exp.Binary, depth: int) -> _Node:
        left, right = self._node(node.left, depth), self._node(node.right, depth)
        return self._compared(_COMPARISONS[type(node)], left, right, node)

    def _compared(self, name: str, left: _Node, right: _Node, node: exp.Expr) -> _Node:
        if "time" in (left.type, right.type):
            left, right = self._as_time(left, node), self._as_time(right, node)
        if left.type != right.type:
            raise self._bad(node, f"{left.type} and {right.type} cannot be compared")
        if left.type in _NUMERIC:
            return _Node(
                "boolean",
                lambda m: compared(name, number_of(left.run(m)), number_of(right.run(m))),
            )  # fmt: skip
        if name not in ("=", "<>"):
            raise self._bad(node, f"expected numbers or times for {name}, got {left.type}")
        equal: _Run = lambda m: equal_texts(left.run(m), right.run(m))  # noqa: E731
        if left.type == "boolean":
            equal = lambda m: agree(left.run(m), right.run(m))  # noqa: E731
        return _Node("boolean", equal if name == "=" else lambda m: ~equal(m))

    def _as_time(self, found: _Node, node: exp.Expr) -> _Node:
        """Take a literal text beside a time as a time, as SQL does."""
        if found.type != "text" or any(True for _ in node.find_all(exp.Lower)):
            return found
        for text in node.find_all(exp.Literal):
            if text.is_string and np.isnan(time_ms(str(text.this))):
                raise self._bad(text, f"expected a time in ISO 8601, got {text.this!r}")
        return _Node("time", lambda m: time_of(found.run(m)))

    def _between(self, node: exp.Between, depth: int) -> _Node:
        this = self._node(node.this, depth)
        low, high = (self._node(node.args[name], depth) for name in ("low", "high"))
        least = self._compared(">=", this, low, node).run
        most = self._compared("<=", this, high, node).run
        return _Node("boolean", lambda m: least(m) & most(m))

    def _in(self, node: exp.In, depth: int) -> _Node:
        this = self._node(node.this, depth)
        if (whole := node.args.get("field")) is not None:
            held = self._expect(self._node(whole, depth), whole, "list")
            self._expect(this, node.this, "text")
            return _Node("boolean", lambda m: matches(this.run(m), held.run(m), is_in))
        if node.args.get("query") is not None or not node.expressions:
            raise self._bad(node, "expected values in brackets, or a list, behind IN")
        if this.type == "text" and all(is_text(one) for one in node.expressions):
            words = frozenset(str(one.this) for one in node.expressions)
            return _Node("boolean", lambda m: among(this.run(m), words))
        parts = [
            self._compared("=", this, self._node(one, depth), node).run for one in node.expressions
        ]
        return _Node("boolean", lambda m: ~all_of([~part(m) for part in parts]))

    def _is(self, node: exp.Is, depth: int) -> _Node:
        this = self._node(node.this, depth)
        if not isinstance(node.expression, exp.Null):
            raise self._bad(node, "expected NULL behind IS")
        wanted = not node.args.get("negate")
        return _Node("boolean", lambda m: Truth.of(is_null(this.run(m)) == wanted))

    def _like(self, node: exp.Like, depth: int) -> _Node:
        this = self._expect(self._node(node.this, depth), node.this, "text")
        if not is_text(node.expression):
            raise self._bad(node, "expected a text behind LIKE")
        test = like(str(node.expression.this))
        return _Node("boolean", lambda m: matches(this.run(m), "", lambda word, _: test(word)))

    def _lower(self, node: exp.Lower, depth: int) -> _Node:
        run = self._expect(self._node(node.this, depth), node.this, "text").run
        return _Node("text", lambda m: lowered(run(m)))

    def _coalesce(self, node: exp.Coalesce, depth: int) -> _Node:
        parts = [self._node(one, depth) for one in (node.this, *node.expressions)]
        for part, one in zip(parts, (node.this, *node.expressions), strict=True):
            self._expect(part, one, parts[0].type)
        if parts[0].type not in ("number", "time", "duration", "boolean"):
            raise self._bad(
                node, f"COALESCE takes numbers, times and booleans, got {parts[0].type}"
            )
        return _Node(parts[0].type, lambda m: first_known([part.run(m) for part in parts]))

    def _overlap(self, node: exp.Expr, depth: int) -> _Node:
        sides = node.expressions if isinstance(node, exp.Anonymous) else [node.left, node.right]  # type: ignore[attr-defined]
        if len(sides) != 2:
            raise self._bad(node, "ARRAYS_OVERLAP takes two lists")
        left, right = (self._expect(self._node(one, depth), one, "list") for one in sides)
        return _Node("boolean", lambda m: matches(left.run(m), right.run(m), overlap))

    def _function(self, node: exp.Anonymous, depth: int) -> _Node:
        if node.name.upper() == "ARRAYS_OVERLAP":
            return self._overlap(node, depth)
        raise self._bad(
            node, f"there is no function {node.name}; there are COALESCE, LOWER and ARRAYS_OVERLAP"
        )  # fmt: skip


#: What is read of nodes besides the usual.
_ARGUMENTS: dict[type[exp.Expr], set[str]] = {
    exp.Between: {"low", "high"},
    exp.Cast: {"to"},
    exp.Column: {"table", "db", "catalog"},  # parts of a name, which is looked up as a whole
    exp.Div: {"typed", "safe"},  # how other databases round and divide by zero
    exp.In: {"field", "query"},
    exp.Interval: {"unit"},
    exp.Is: {"negate"},
    exp.Literal: {"is_string"},
}

_METHODS: list[tuple[Any, Callable[[_Compiler, Any, int], _Node]]] = [
    ((exp.And, exp.Or), _Compiler._connected),
    (exp.Not, _Compiler._not),
    (exp.Paren, _Compiler._paren),
    (exp.Column, _Compiler._column),
    (exp.Literal, _Compiler._literal),
    (exp.Boolean, _Compiler._boolean),
    ((exp.CurrentTimestamp, exp.CurrentTimestampLTZ), _Compiler._now),
    (tuple(_COMPARISONS), _Compiler._comparison),
    (tuple(_ARITHMETIC), _Compiler._arithmetic),
    (exp.Neg, _Compiler._negative),
    (exp.Between, _Compiler._between),
    (exp.In, _Compiler._in),
    (exp.Is, _Compiler._is),
    (exp.Like, _Compiler._like),
    (exp.Lower, _Compiler._lower),
    (exp.Coalesce, _Compiler._coalesce),
    (exp.Interval, _Compiler._interval),
    (exp.ArrayOverlaps, _Compiler._overlap),
    (exp.Anonymous, _Compiler._function),
    (exp.Cast, _Compiler._cast),
]


def _reader(name: str, of: str) -> _Run:
    if of in ("text", "list"):
        return lambda m: codes_of(m.columns.column(name), m.slots, of)
    if of == "boolean":
        return lambda m: truth_of(m.columns.column(name).numbers(m.slots, of))
    return lambda m: m.columns.column(name).numbers(m.slots, of)
