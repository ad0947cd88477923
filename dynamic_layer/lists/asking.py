"""Users as a list maker reads them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dynamic_layer.bundles.bundle import DynamicBundle
from dynamic_layer.bundles.sequence import ServedSequence
from dynamic_layer.counts.moments import Histories
from dynamic_layer.head.impressions import Impressions
from dynamic_layer.lists.served_features import ListWatch

_DAY_S = np.float32(86_400.0)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """`b` users whose lists are to be made.

    vectors:   f32 [b, d], unit vectors of the user tower.
    queries:   f32 [b, d + 1], of the index.
    histories: whole histories, newest entry first.
    watches:   of each user, what collects the features that a head reads; empty for none.
    met:       i64 [b, e], rows of items that they know, -1 for none.
    disliked:  i64 [b, x], rows of items that are in no list of theirs, -1 for none.
    demotion:  f32 [b], factor on the chance of items like those.
    cooling:   i64 [b, y], rows of items that are in no list of theirs for now, -1 for none; None
               where there are none.
    shown:     impressions before the bucket of the moment; None where none are read.
    sequence:  f32 [b, w + 1], queries of the sequence tower; None without one.
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    histories: Histories
    met: NDArray[np.int64]
    disliked: NDArray[np.int64]
    demotion: NDArray[np.float32]
    watches: tuple[ListWatch | None, ...] = ()
    cooling: NDArray[np.int64] | None = None
    shown: Impressions | None = None
    sequence: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of users."""
        return len(self.vectors)

    def take(self, places: Any) -> "Asking":
        """Return some of the users: row numbers or a slice."""
        rows = np.arange(len(self))[places]
        return Asking(
            vectors=self.vectors[places],
            queries=self.queries[places],
            histories=self.histories.take(rows),
            met=self.met[places],
            disliked=self.disliked[places],
            demotion=self.demotion[places],
            cooling=None if self.cooling is None else self.cooling[places],
            watches=tuple(self.watches[n] for n in rows.tolist() if self.watches),
            shown=None if self.shown is None else self.shown.take(rows),
            sequence=None if self.sequence is None else self.sequence[places],
        )

    @cached_property
    def unlisted(self) -> NDArray[np.int64]:
        """Rows that are in no list, disliked or cooling off, i64 [b, ...], -1 for none."""
        if self.cooling is None:
            return self.disliked
        return np.concatenate([self.disliked, self.cooling], axis=1)

    @cached_property
    def barred(self) -> NDArray[np.int64]:
        """Rows that are no candidates of a list of discovery, i64 [b, ...], -1 for none."""
        return np.concatenate([self.met, self.unlisted], axis=1)

    def excluded(self, repeats: str) -> NDArray[np.int64] | None:
        """Return the rows that a list must not hold, i64 [b, ...]; None where there are none."""
        if repeats == "exclude":
            return self.barred
        return self.unlisted if self.unlisted.shape[1] else None


def asking(
    bundle: DynamicBundle,
    vectors: torch.Tensor,
    *,
    history: NDArray[np.int64],
    age_s: NDArray[np.float32],
    strong: NDArray[np.bool_],
    known: NDArray[np.bool_] | None = None,
    disliked: NDArray[np.int64] | None = None,
    demotion: NDArray[np.float32] | None = None,
    shown: Impressions | None = None,
    sequence: ServedSequence | None = None,
) -> Asking:
    """Return users as a list maker reads them. What a user knows is no candidate.

    vectors: f32 [b, d], of the user tower. Of whole histories, [b, e], newest entry first:
    history: i64, item rows, -1 for none or unknown; age_s: f32, seconds since the entry;
    strong: bool, whether the entry has a strong event.
    known: bool, whether the user knows its item; where it is strong if None. disliked, demotion,
    shown: see Asking; nothing is disliked if None. sequence: the tower that reads the histories.
    """
    there = history >= 0
    sizes = there.sum(axis=1)
    return Asking(
        vectors=np.asarray(vectors.numpy(), np.float32),
        queries=bundle.queries(vectors),
        histories=Histories(
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            item=history[there],
            age_days=(age_s[there] / _DAY_S).astype(np.float32),
            strong=strong[there],
        ),
        met=np.where(strong if known is None else known, history, -1),
        disliked=np.zeros((len(sizes), 0), np.int64) if disliked is None else disliked,
        demotion=np.ones(len(sizes), np.float32) if demotion is None else demotion,
        shown=shown,
        sequence=None if sequence is None else sequence.queries(history, age_s, strong),
    )
