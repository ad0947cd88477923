"""Constant parts of conditions that have no value, such as `1 / 0`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sqlglot import exp

from dynamic_layer.policies.columns import ItemColumns
from dynamic_layer.policies.moment import Moment
from dynamic_layer.policies.parsing import is_constant
from dynamic_layer.policies.values import arithmetic

__all__ = ["null_constant"]

#: For constants, which do not read it.
_NO_MOMENT = Moment(ItemColumns(), slice(0), {}, 0.0)


def null_constant(
    node: exp.Binary, name: str, left: Callable[[Moment], Any], right: Callable[[Moment], Any]
) -> tuple[exp.Expr, str] | None:
    """Return which part of an operation on numbers is NULL whatever the item, and why.

    name: of the operator; left, right: its operands. None where neither the operation is such a
    constant nor its divisor is zero, and where an operand already is one: that one is the cause.
    """
    if not is_constant(node.right):
        return None
    divisor = right(_NO_MOMENT)
    if (
        name in "/%"
        and divisor == 0
        and not (is_constant(node.left) and np.isnan(left(_NO_MOMENT)))
    ):
        return node.right, "division by zero"
    if not is_constant(node):
        return None
    operand = left(_NO_MOMENT)
    if np.isnan(operand) or np.isnan(divisor) or not np.isnan(arithmetic(name, operand, divisor)):
        return None
    return node, "the result is not a finite number"
