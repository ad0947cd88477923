"""What an object remembers, as arrays and JSON values: the parts of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

_SEPARATOR = "/"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Enough of an object to make it again, without pickle.

    arrays: by name, of any shape; values: what JSON can hold.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Mapping[str, "Saved"]) -> Self:
        """Return several as one; `part` takes them apart again.

        >>> Saved.joined({"a": Saved(values={"x": 1})}).part("a").values
        {'x': 1}
        """
        return cls(
            arrays={
                f"{name}{_SEPARATOR}{inner}": array
                for name, part in parts.items()
                for inner, array in part.arrays.items()
            },
            values={name: dict(part.values) for name, part in parts.items()},
        )

    def part(self, name: str) -> "Saved":
        """Return what was joined under a name. Raises KeyError if there is no such part."""
        prefix = name + _SEPARATOR
        return Saved(
            arrays={
                inner.removeprefix(prefix): array
                for inner, array in self.arrays.items()
                if inner.startswith(prefix)
            },
            values=self.values[name],
        )


def generator_saved(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a random generator, as JSON values."""
    return dict(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Have a generator go on where another was. Raises ValueError for one of another kind."""
    rng.bit_generator.state = dict(state)


def module_saved(module: torch.nn.Module) -> Saved:
    """Return a module's weights and buffers."""
    return Saved(arrays={name: _array(value) for name, value in module.state_dict().items()})


def restore_module(module: torch.nn.Module, saved: Saved) -> None:
    """Give a module the weights of another of its shape. Raises RuntimeError for another shape."""
    module.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in saved.arrays.items()}
    )


def optimiser_saved(optimiser: torch.optim.Optimizer) -> Saved:
    """Return an optimiser's moments and steps; its settings are not part of it."""
    return Saved(
        arrays={
            f"{parameter}.{name}": _array(torch.as_tensor(value))
            for parameter, values in optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
    )


def restore_optimiser(optimiser: torch.optim.Optimizer, saved: Saved) -> None:
    """Give an optimiser the moments of another; it keeps the settings that it was made with."""
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in saved.arrays.items():
        parameter, _, inner = name.partition(".")
        found.setdefault(int(parameter), {})[inner] = torch.from_numpy(np.array(array))
    optimiser.load_state_dict({**optimiser.state_dict(), "state": found})


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.array(tensor.detach().cpu().numpy())
