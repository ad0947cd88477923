"""What a night need not do again: thousands of nights load the same small bundles."""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from agents.bundles import models
from dynamic_layer import DynamicBundle, Ranking, Recommender
from state.artifacts import MANIFEST
from static_layer import StaticBundle

#: Bundles that are kept, by the digests of their manifests.
KEPT = 32
_known: dict[bytes, Any] = {}
#: Bundles of which lists were made.
_warmed: set[tuple[int, int]] = set()


@contextmanager
def sparing() -> Iterator[None]:
    """Have equal bundles be read once, by all processes of all nights.

    The digests of their files are compared each time that they are fetched, and no process changes
    a bundle. Random numbers are those of the CPU alone: to tell torch of GPUs that are not there
    took a twelfth of a night.
    """
    with ExitStack() as stack:
        for kind in (DynamicBundle, StaticBundle):
            stack.enter_context(patch.object(kind, "load", _once(kind.load)))
        stack.enter_context(patch.object(models, "Recommender", _WarmedOnce))
        seed = torch.default_generator.manual_seed
        stack.enter_context(patch("static_layer.seeding.torch.manual_seed", seed))
        # What was there before a night is no garbage of the night, and the night's own can wait for
        # its end: collections took a tenth of it.
        gc.freeze()
        gc.disable()
        stack.callback(gc.unfreeze)
        stack.callback(gc.enable)
        yield


class _WarmedOnce(Recommender):
    """Makes the first lists of a bundle, which only warm it up, once for all processes."""

    _first = True

    def recommend(self, *of: Any, **more: Any) -> list[dict[str, Ranking]]:
        first, self._first = self._first, False
        if first and self.bundle.made in _warmed:
            return []
        _warmed.add(self.bundle.made)
        return super().recommend(*of, **more)


def _once(load: Callable[..., Any]) -> Callable[..., Any]:
    def loaded(folder: Path, *before: Any) -> Any:
        digest = sha256((folder / MANIFEST).read_bytes()).digest()
        found = _known.pop(digest, None) or load(folder, *before)
        _known[digest] = found  # the newest last
        if len(_known) > KEPT:
            del _known[next(iter(_known))]
        return found

    return loaded
