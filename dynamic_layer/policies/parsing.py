"""From the text of a condition to sqlglot's tree: bounded in size, mistakes with their place."""

from typing import Any

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError, SqlglotError, TokenError

from dynamic_layer.policies.rules import PolicyError

__all__ = ["Source", "is_constant", "is_text"]

TOKENS = 2_000
DEEP = 24  # brackets, NOT and minus inside one another; sqlglot takes 20 calls for each
_DIALECT = "postgres"
_PREFIXES = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE}
_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}


class Source:
    """The text of a condition, and where it stands."""

    def __init__(self, text: str, where: str) -> None:
        """where: what the message of a mistake begins with."""
        self.text, self.where = text, where

    def parse(self) -> exp.Expr:
        """Return the one condition. Raises PolicyError with line and column."""
        try:
            self._check_size(sqlglot.tokenize(self.text, dialect=_DIALECT))
            trees = sqlglot.parse(self.text, dialect=_DIALECT)
        except PolicyError:
            raise
        except ParseError as error:
            raise self._parse_error(error) from error
        except TokenError as error:
            raise self._token_error(error) from error
        except (SqlglotError, ValueError) as error:
            raise PolicyError(f"{self.where}: {_one_line(error)}") from error
        except RecursionError as error:
            raise PolicyError(f"{self.where}: the condition is nested too deeply") from error
        if len(trees) != 1 or trees[0] is None:
            raise PolicyError(f"{self.where}: expected a condition, got none")
        return trees[0]

    def bad(self, node: exp.Expr, message: str) -> PolicyError:
        """Return the error for a part of the tree."""
        starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
        return self._at(min(starts, default=0), message)

    def _check_size(self, tokens: list[Token]) -> None:
        if len(tokens) > TOKENS:
            message = f"expected at most {TOKENS} words and signs, got more"
            raise self._at(tokens[TOKENS].start, message)
        open_brackets = before = 0
        for token in tokens:
            kind = token.token_type
            # A NOT or minus in front of another is a level too, as is a CASE.
            before = before + 1 if kind in _PREFIXES else 0
            open_brackets += (kind in _OPENING) - (kind in _CLOSING)
            if open_brackets + before > DEEP:
                raise self._at(token.start, f"nested more than {DEEP} deep")
            if kind == TokenType.SEMICOLON:
                raise self._at(token.start, "expected one condition, got a semicolon")

    def _at(self, start: int, message: str) -> PolicyError:
        before = self.text[:start]
        line, column = before.count("\n") + 1, start - (before.rfind("\n") + 1) + 1
        return PolicyError(f"{self.where}: line {line}, column {column}: {message}")

    def _parse_error(self, error: ParseError) -> PolicyError:
        first: dict[str, Any] = error.errors[0] if error.errors else {}
        line, column = first.get("line") or 1, first.get("col") or 1
        said = first.get("description") or _one_line(error)
        if said.startswith("Required keyword"):  # it goes on with names of sqlglot's classes
            said = "something is missing here"
        near = first.get("highlight") or ""
        message = f"near {near!r}: {said}" if near else said
        return PolicyError(f"{self.where}: line {line}, column {column}: {_one_line(message)}")

    def _token_error(self, error: TokenError) -> PolicyError:
        at = _unclosed(self.text)
        if at is None:
            return self._at(0, _one_line(error))
        return self._at(at, "the quotation mark is not closed")


def is_text(node: Any) -> bool:
    """Whether a part of the tree is a text in quotation marks."""
    return isinstance(node, exp.Literal) and bool(node.is_string)


def is_constant(node: exp.Expr) -> bool:
    """Whether a part of the tree reads no attribute and no time."""
    reads = (exp.Column, exp.CurrentTimestamp, exp.CurrentTimestampLTZ)
    return not any(isinstance(part, reads) for part in node.walk())


def _unclosed(text: str) -> int | None:
    """Return the place of a quotation mark without its end.

    >>> _unclosed("a = 'b' and c = 'd"), _unclosed("a = 'b'")
    (16, None)
    """
    mark, begun = "", 0
    for place, sign in enumerate(text):
        if mark:
            mark = "" if sign == mark else mark
        elif sign in "'\"":
            mark, begun = sign, place
    return begun if mark else None


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
