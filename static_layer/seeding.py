"""First weights by seed, whatever other threads of the process do."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

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
