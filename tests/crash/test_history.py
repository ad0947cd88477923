"""The checker of histories can fail: each thing that no order explains is reported."""

from dataclasses import replace

import pytest

from streams import Source
from tests.crash.history import (
    Erasure,
    Log,
    PolicyRead,
    PolicyWrite,
    Read,
    Shown,
    Write,
    violations,
)

A, B, C = (("song", name) for name in "abc")


def at(offset: int) -> Source:
    return Source(topic="events", partition=0, offset=offset)


# a at 1, b at 2 (weak), an erasure at 3, c at 4.
LOG = Log(
    events={"ann": [(at(1), A, True), (at(2), B, False), (at(4), C, True)]},
    erasures={"ann": [at(3)]},
    shown={at(9): ("ann", (A, B))},
    policies={A: 1, B: 2},
)
SHOWN = Shown(began=1, ended=2, user="ann", items=(A, B), place=at(9))
WRITE = Write(began=1, ended=2, user="ann", item=A, strong=True, place=at(1))
ERASURE = Erasure(began=3, ended=4, user="ann", place=at(3))
HISTORY = Read(
    began=5, ended=6, user="ann", asked=at(2), topic="events", partition=0, position=3,
    items=(A, B), is_list=False, life=1,
)  # fmt: skip
LIST = replace(HISTORY, items=(B, C), is_list=True)
WRITTEN = [
    PolicyWrite(began=1, ended=1, item=A, version=1),
    PolicyWrite(began=2, ended=2, item=B, version=None),
]
EXPLAINED = {
    "an acknowledged write": [WRITE],
    "acknowledged impressions": [SHOWN],
    "a history": [HISTORY],
    "a list without what was taken": [LIST],
    "the history after the erasure": [replace(HISTORY, position=5, items=(C,))],
    "an erasure that a reader knows before it comes to it": [replace(HISTORY, items=())],
    "a read before the receipt": [HISTORY, replace(ERASURE, held_since=9.0)],
    "another process that is behind": [
        replace(HISTORY, began=1, ended=2, position=5, items=(C,)),
        replace(HISTORY, life=2),
    ],
    "reads at the same time, in any order": [
        replace(HISTORY, began=1, ended=9, position=5, items=(C,)),
        HISTORY,
    ],
    "policies in order": [
        *WRITTEN,
        PolicyRead(began=3, ended=4, item=A),
        PolicyRead(began=5, ended=6, item=B),
    ],
}
NOT_EXPLAINED = {
    "an acknowledged write that is not there": [replace(WRITE, place=at(7))],
    "another event at its place": [replace(WRITE, item=C)],
    "acknowledged impressions that are not there": [replace(SHOWN, place=at(8))],
    "impressions of other items": [replace(SHOWN, items=(A,))],
    "a weak event for a strong one": [replace(WRITE, strong=False)],
    "less than was asked for": [replace(HISTORY, asked=at(3))],
    "a history that lacks an event": [replace(HISTORY, items=(A,))],
    "a history with an event to come": [replace(HISTORY, items=(A, B, C), position=4)],
    "a list with an item that the user has": [replace(LIST, position=5)],
    "erased items in a history": [replace(HISTORY, position=5, items=(A, B, C))],
    "erased items after the receipt": [HISTORY, replace(ERASURE, held_since=4.0)],
    "a process that goes back": [
        replace(HISTORY, began=1, ended=2, position=5, items=(C,)),
        HISTORY,
    ],
    "a process that goes back, with a long read between": [
        replace(HISTORY, began=1, ended=2, position=5, items=(C,)),
        replace(HISTORY, began=1.5, ended=9, position=5, items=(C,)),
        HISTORY,
    ],
    "a policy that reverts": [
        *WRITTEN,
        PolicyRead(began=3, ended=4, item=B),
        PolicyRead(began=5, ended=6, item=A),
    ],
    "a policy before it was written": [
        PolicyRead(began=0, ended=0.5, item=A),
        *WRITTEN,
    ],
    "a policy that was never written": [*WRITTEN, PolicyRead(began=3, ended=4, item=C)],
    "two policies of one version": [replace(WRITTEN[0], version=2)],
}


@pytest.mark.parametrize("history", EXPLAINED.values(), ids=EXPLAINED)
def test_an_order_explains(history: list) -> None:
    assert violations(history, LOG) == []


@pytest.mark.parametrize("history", NOT_EXPLAINED.values(), ids=NOT_EXPLAINED)
def test_no_order_explains(history: list) -> None:
    assert len(violations(history, LOG)) == 1
