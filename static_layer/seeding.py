"""First weights: by seed, whatever other threads of the process do, or none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

import torch
from torch import nn

_M = TypeVar("_M", bound=nn.Module)
_TURN = RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's own generator as after `manual_seed(seed)`; then leave it as it was.

    That generator is one for the process. Threads take turns here, or two that make their models
    at the same time would draw from each other's numbers.
    """
    with _TURN, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def undrawn(make: Callable[[], _M]) -> _M:
    """Return the module that a function makes, without drawing weights: they are loaded next.

    Weights and buffers are allocated, and not initialised.
    """
    with torch.device("meta"):
        module = make()
    return module.to_empty(device="cpu")
