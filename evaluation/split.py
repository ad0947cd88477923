"""The split in time: what a model may see, and what it is tested on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.dataset import Interactions

DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class TimeSplit:
    """Events before and from one global point in time.

    train: events before `at_ms`. test: events in [at_ms, end].
    at_ms: the split point, ms UTC.
    """

    train: Interactions
    test: Interactions
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out items per user for one set of items, as a compressed row list.

    users: i64[n], rows of the users with at least one held-out item, ascending.
    indptr: i64[n + 1]; item: i64[m], rows of the held-out items, ascending within a user.
    """

    users: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> "HeldOut":
        """Return some of the held-out items, bool[m], of the users who have any of them."""
        owner = np.repeat(self.users, self.counts())[chosen]
        users, counts = np.unique(owner, return_counts=True)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return HeldOut(users=users, indptr=indptr, item=self.item[chosen])

    def sample(self, size: int, seed: int) -> "HeldOut":
        """Return the held-out items of `size` users drawn at random; of all of them for size 0."""
        if not size or len(self.users) <= size:
            return self
        rng = np.random.default_rng([seed, 0])
        kept = np.zeros(len(self.users), dtype=bool)
        kept[rng.choice(len(self.users), size=size, replace=False)] = True
        counts = self.counts()
        return HeldOut(
            users=self.users[kept],
            indptr=np.concatenate([[0], np.cumsum(counts[kept])]),
            item=self.item[np.repeat(kept, counts)],
        )

    def counts(self) -> npt.NDArray[np.int64]:
        """Number of held-out items per user, i64[n], at least 1."""
        return np.diff(self.indptr)


def time_split(
    events: Interactions,
    *,
    test_days: float = 14,
    train_days: float | None = None,
    end_ms: int | None = None,
) -> TimeSplit:
    """Hold out the last `test_days` before `end_ms` (default: just after the last event).

    train_days: length of the training span; default: everything before the split.
    Raises ValueError when either side is empty.
    """
    if not len(events):
        raise ValueError("cannot split an empty set of events")
    end = int(events.timestamp.max()) + 1 if end_ms is None else end_ms
    at = end - round(test_days * DAY_MS)
    begin = at - round(train_days * DAY_MS) if train_days is not None else None
    before = events.timestamp < at
    if begin is not None:
        before &= events.timestamp >= begin
    split = TimeSplit(
        train=events.where(before),
        test=events.where((events.timestamp >= at) & (events.timestamp < end)),
        at_ms=at,
    )
    if not len(split.train) or not len(split.test):
        raise ValueError(
            f"test_days={test_days}, train_days={train_days} leave {len(split.train)} events to "
            f"train and {len(split.test)} to test: choose a split inside the data"
        )
    return split


def last_streams(events: Interactions, n_users: int) -> tuple[TimeSplit, npt.NDArray[np.int64]]:
    """Hold out each user's last stream, of users with an event before it (leave-one-out).

    events: in order of time. Returns the split, and the moment at which each user is asked, i64
    [n_users]: just after the last event that is left. What follows a held-out stream is on neither
    side. Raises ValueError where no user has two events.
    """
    place = np.arange(len(events))
    last = np.full(n_users, -1)
    last[events.user[events.strong]] = place[events.strong]  # the latest assignment stays
    before = place < last[events.user]
    tested = (place == last[events.user]) & (
        np.bincount(events.user[before], minlength=n_users)[events.user] > 0
    )
    # A user whose only stream is the last one has nothing held out: it belongs to the past.
    known = before | ((place == last[events.user]) & ~tested)
    train = events.where(known)
    at_ms = int(train.timestamp.max()) + 1 if len(train) else 0
    split = TimeSplit(train=train, test=events.where(tested), at_ms=at_ms)
    if not len(split.train) or not len(split.test):
        raise ValueError(
            f"{len(events)} events leave {len(split.test)} users to test: leave-one-out "
            "needs users with at least two events"
        )
    asked = np.full(n_users, at_ms)
    asked[train.user] = train.timestamp + 1
    return split, asked


def held_out(split: TimeSplit, rows: npt.NDArray[np.int64], *, repeats: bool = False) -> HeldOut:
    """Test streams on the items in `rows`; without `repeats`, only of items new to the user.

    New means: no stream of the item by the user before the split. A weak signal does not make an
    item known: turning interest into a stream is what a recommendation is for.
    """
    width = 1 + max(int(part.max()) for part in (rows, split.train.item, split.test.item))
    inside = np.zeros(width, dtype=bool)
    inside[rows] = True
    chosen = split.test.strong & inside[split.test.item]
    pairs = np.unique(_codes(split.test.where(chosen), len(inside)))
    if not repeats:
        seen = _codes(split.train.where(split.train.strong), len(inside))
        pairs = pairs[~np.isin(pairs, seen)]
    user, item = np.divmod(pairs, len(inside))
    users, counts = np.unique(user, return_counts=True)
    return HeldOut(users=users, indptr=np.concatenate([[0], np.cumsum(counts)]), item=item)


def first_of(truth: HeldOut, test: Interactions) -> HeldOut:
    """Return each user's earliest held-out item alone: the next event instead of the horizon.

    test: the events after the split, in order of time.
    """
    width = 1 + max(int(truth.item.max(initial=0)), int(test.item.max(initial=0)))
    wanted = np.repeat(truth.users, truth.counts()) * width + truth.item
    strong = test.where(test.strong)
    held = strong.where(np.isin(_codes(strong, width), wanted))
    users, place = np.unique(held.user, return_index=True)
    return HeldOut(users=users, indptr=np.arange(len(users) + 1), item=held.item[place])


def _codes(events: Interactions, width: int) -> npt.NDArray[np.int64]:
    return np.asarray(events.user * width + events.item)
