"""One training on several processes: each learns from its part of every batch.

The processes are torchrun's or Ray's, with a process group that the caller has opened. All have the
whole graph and draw the same batches and negatives from the same seed; of a batch each computes its
own part, and DistributedDataParallel averages the gradients. So the model is the one that a single
process learns at the same batch size, but for the neighbours that are sampled. What rounding could
make different on another machine, and would lead the processes apart, the first one tells the rest.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

_AT_ONCE = 64 << 20  # bytes that travel in one message, so that a device holds no more of them
#: How long a process waits for another one. torchrun or Ray notices at once when one dies; this
#: is for slow ones: texts are encoded for hours where no vector is known (chosen).
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Which of how many processes this is; alone it is the first of one."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "Parallel":
        """Return this process's place in the open process group; alone without one."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(rank=distributed.get_rank(), size=distributed.get_world_size())

    @property
    def device(self) -> torch.device:
        """Where tensors lie that the processes exchange."""
        on_gpus = self.size > 1 and distributed.get_backend() == "nccl"
        return torch.device("cuda" if on_gpus else "cpu")

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model whose gradients are averaged over the processes."""
        if self.size == 1:
            return model
        # A small part may hold no edge of some relation: its weights have no gradient then.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def part(self, n: int) -> slice:
        """Return this process's part of `n` rows; sizes differ by one at most.

        >>> [Parallel(rank=rank, size=3).part(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share(self, n: int) -> float:
        """Return the weight of this process's mean in the mean over all `n` rows.

        The gradients' average divides by the number of processes: it is taken back here.
        """
        part = self.part(n)
        return float(part.stop - part.start) * self.size / n

    def total(self, value: float, device: torch.device) -> float:
        """Return the sum of every process's value: the same number on all."""
        if self.size == 1:
            return value
        tensor: Tensor = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.all_reduce(tensor)
        return float(tensor.item())

    def firsts(self, value: float, device: torch.device) -> float:
        """Return the first process's value on all."""
        return self.total(0.0 if self.rank else value, device)

    def fill(self, array: NDArray[Any], source: int = 0) -> None:
        """Give an array on all processes the values that it has on one of them.

        array: contiguous, of the same shape and type everywhere; it may be memory-mapped.
        """
        if self.size == 1:
            return
        content = array.reshape(-1).view(np.uint8)
        for start in range(0, len(content), _AT_ONCE):
            part = content[start : start + _AT_ONCE]
            # The sender's array may be read-only, which torch does not know.
            message = torch.from_numpy(part.copy() if self.rank == source else part).to(self.device)
            distributed.broadcast(message, source)
            if self.rank != source and message.is_cuda:
                part[:] = message.cpu().numpy()


@contextmanager
def process_group() -> Iterator[Parallel]:
    """Join the other processes that torchrun started, if it started this one."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield Parallel()
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=PATIENCE)
    try:
        yield Parallel.here()
    finally:
        distributed.destroy_process_group()
