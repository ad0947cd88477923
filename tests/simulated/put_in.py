"""Whether nights find a fault that is put into the code by hand."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.simulated.run import run_night

#: Nights in which a fault must show itself.
NIGHTS = 80

Fault = Callable[[], AbstractContextManager[object]]


def is_found(fault: Fault, says: str, known: int) -> bool:
    """Return whether a night says so: that of the known seed first, then all from 0 on.

    A change of what nights draw makes another seed the first one.
    """
    with fault():
        return any(says in line for seed in (known, *range(NIGHTS)) for line in run_night(seed)[1])
