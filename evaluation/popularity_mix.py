"""Popularity as well as it can be done without knowing the user: the baseline to beat.

Demand at several half-lives goes through a small network that learns, on windows before the
split, which items will be chosen next. It is the ranking head without anything personal.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from evaluation.baselines import Rows, Scorer, Scores, popularity
from evaluation.dataset import Dataset, Interactions
from evaluation.model import CannotFit, Past
from evaluation.split import DAY_MS
from static_layer import Progress, seeded

__all__ = ["popularity_mix"]

HALF_LIVES_DAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 365.0)
#: Length of a window where the test has none (leave-one-out).
WINDOW_DAYS = 14.0


def popularity_mix(
    dataset: Dataset,
    split: Past,
    *,
    seed: int,
    progress: Progress,
    windows: int = 4,
    hidden: int = 32,
    steps: int = 300,
    weight_decay: float = 1e-3,
) -> Scorer:
    """Fit a listwise network on item features alone; every user gets the same scores.

    windows: stretches as long as the test that it learns from, one before the other, the last of
    them ending at the split; as many as fit into the past. Features are read at a window's
    start, targets are the distinct (user, item) pairs in it.
    """
    n_items, days = len(dataset.items), split.horizon_days or WINDOW_DAYS
    lessons = []
    past = split
    for _ in range(windows):
        try:
            past, after = past.before(days)
        except CannotFit:
            break
        lessons.append((_features(past.train, n_items, past.at_ms), _targets(after, n_items)))
    if not lessons:
        raise CannotFit(f"the past is shorter than {days:g} days: there is no window to fit on")
    with seeded(seed):
        width = lessons[0][0].shape[1]
        network = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=weight_decay)
        for step in range(steps):
            losses = [_cross_entropy(network(x).squeeze(1), y) for x, y in lessons]
            loss = torch.stack(losses).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            progress("popularity_mix", step + 1, steps)
        with torch.no_grad():
            values = network(_features(split.train, n_items, split.at_ms)).squeeze(1).numpy()

    def score(users: Rows, items: Rows) -> Scores:
        return np.broadcast_to(values[items], (len(users), len(items)))

    return score


def _features(train: Interactions, n_items: int, at_ms: int) -> Tensor:
    """Log demand at each half-life, and the days since the item's first and last event.

    f32[n_items, features]; a half-life's demand is in expected events per half-life, so that one
    network reads windows with more and with less traffic alike.
    """
    any_user = np.zeros(1, np.int64)
    columns: list[npt.NDArray[np.floating]] = []
    age = (at_ms - int(train.timestamp.max())) / DAY_MS
    for half_life in HALF_LIVES_DAYS:
        counts = popularity(train, n_items, half_life_days=half_life)(any_user, np.arange(n_items))
        columns.append(np.log(counts[0] * 0.5 ** (age / half_life) + 0.1))
    first, last = np.zeros(n_items), np.zeros(n_items)
    first[train.item[::-1]] = train.timestamp[::-1]
    last[train.item] = train.timestamp
    for moment in (first, last):
        days = np.where(moment > 0, (at_ms - moment) / DAY_MS, 3_650.0)
        columns.append(np.log1p(days) - 4.0)
    columns.append((first == 0).astype(np.float32))
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def _targets(after: Interactions, n_items: int) -> Tensor:
    """Users per item in a window, as a distribution, f32[n_items]."""
    pairs = np.unique(after.user[after.strong] * n_items + after.item[after.strong])
    counts = np.bincount(pairs % n_items, minlength=n_items)
    return torch.from_numpy((counts / max(counts.sum(), 1)).astype(np.float32))


def _cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    return -(target * torch.log_softmax(scores, dim=0)).sum()
