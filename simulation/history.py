"""The past of the simulated world: first contacts of users with items, and what follows them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulation.audience import Audience
from simulation.catalogue import Items
from simulation.choice import Choosing
from simulation.returns import TypeContacts, draw_returns
from simulation.rhythm import Rhythm
from simulation.settings import WEAK_SHARES, WorldSettings

ROUNDS = 4
"""How often a contact is drawn again when the user has met the item already."""

ATTEMPTS = 4
"""The pilot and at most three full draws: small worlds saturate, and a pilot cannot tell."""

HEADROOM = 1.2


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """First contacts, one row per (user, item), no pair twice.

    user, item: i64[m]. kind: i8[m], place in `KINDS`. activity: f64[m], time as `Rhythm` counts it.
    """

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    activity: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Events:
    """Events in order of time.

    user, item: i64[n], rows. kind: i8[n], place in `KINDS`. time_ms: i64[n], ms UTC.
    """

    user: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    time_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)


def draw_kinds(
    types: npt.NDArray[np.int64], settings: WorldSettings, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Kind of each first contact, i8[m]: a stream, or a weak signal (`weak_share`)."""
    weak = rng.choice(len(WEAK_SHARES), size=len(types), p=list(WEAK_SHARES.values())) + 1
    return np.where(rng.random(len(types)) < settings.weak_share, weak, 0).astype(np.int8)


def draw_history(
    settings: WorldSettings,
    items: Items,
    audience: Audience,
    chooser: Choosing,
    rng: np.random.Generator,
) -> tuple[Contacts, Events]:
    """Draw contacts and the events that follow from them, `settings.events` of these.

    chooser: draws the item of each contact. A pilot tells how many events follow a contact. Then
    slightly too many contacts are drawn, and whole contacts are dropped at random until the number
    of events is right.
    """
    size = max(settings.events // 50, 1_000)
    for attempt in range(ATTEMPTS):
        contacts = _draw_contacts(size, settings, audience, chooser, rng)
        owner, at = _draw_later_streams(contacts, settings, items, audience, rng)
        total = len(contacts.user) + len(owner)
        if attempt and total >= settings.events:
            break
        size = int(size * HEADROOM * settings.events / total)
    sizes = 1 + np.bincount(owner, minlength=len(contacts.user))
    order = rng.permutation(len(sizes))
    kept = np.zeros(len(sizes), dtype=bool)
    kept[order[np.cumsum(sizes[order]) <= settings.events]] = True
    first = np.flatnonzero(kept)
    owner, at = owner[kept[owner]], at[kept[owner]]
    source = np.concatenate([first, owner])
    kind = np.concatenate([contacts.kind[first], np.zeros(len(owner), dtype=np.int8)])
    rhythm = Rhythm(settings.start_ms, settings.end_ms)
    time_ms = rhythm.time_ms(np.concatenate([contacts.activity[first], at]))
    order = np.argsort(time_ms, kind="stable")
    events = Events(
        user=contacts.user[source[order]],
        item=contacts.item[source[order]],
        kind=kind[order],
        time_ms=time_ms[order],
    )
    return Contacts(**{name: column[first] for name, column in vars(contacts).items()}), events


def _draw_later_streams(
    contacts: Contacts,
    settings: WorldSettings,
    items: Items,
    audience: Audience,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Later streams inside the history: row of the contact i64[k] and activity time f64[k]."""
    types = items.type_row[contacts.item]
    returns = np.zeros(len(types), dtype=np.int64)
    for row in range(len(settings.item_types)):
        mine = types == row
        of_type = TypeContacts(
            user=contacts.user[mine],
            item=contacts.item[mine],
            kind=contacts.kind[mine],
            appeal=items.appeal[contacts.item[mine]],
            devotion=audience.devotion[contacts.user[mine]],
            days_left=(1 - contacts.activity[mine]) * settings.days,
            items=int((items.type_row[: settings.items] == row).sum()),
        )
        returns[mine] = draw_returns(of_type, settings.behaviour(row), rng)
    owner = np.repeat(np.arange(len(types)), returns)
    at = _return_times(contacts, types, owner, settings, rng)
    return owner[at < 1.0], at[at < 1.0]


def _return_times(
    contacts: Contacts,
    types: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
    settings: WorldSettings,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Activity times of later streams: exponential gaps, summed within each contact."""
    days = np.array(
        [settings.behaviour(row).return_days for row in range(len(settings.item_types))]
    )[types[owner]]
    opens = np.ones(len(owner), dtype=bool)
    opens[1:] = owner[1:] != owner[:-1]
    # A weak signal is followed up within hours, a first stream by the next session.
    days = np.where(opens & (contacts.kind[owner] > 0), 0.3, days)
    summed = np.cumsum(rng.exponential(days) / settings.days)
    before = np.concatenate([[0.0], summed[:-1]])[opens]
    run = np.cumsum(opens) - 1
    return np.asarray(contacts.activity[owner] + summed - before[run])


def _draw_contacts(
    size: int,
    settings: WorldSettings,
    audience: Audience,
    chooser: Choosing,
    rng: np.random.Generator,
) -> Contacts:
    rhythm = Rhythm(settings.start_ms, settings.end_ms)
    upto = np.cumsum(audience.activity.ravel())
    drawn = np.searchsorted(upto / upto[-1], rng.random(size), side="right")
    users, types = np.divmod(np.minimum(drawn, len(upto) - 1), len(settings.item_types))
    since = rhythm.activity(audience.since_ms)[users, types]
    at = since + rng.random(size) * (1 - since)
    time_ms = rhythm.time_ms(at)
    items = np.full(size, -1, dtype=np.int64)
    open_ = np.arange(size)
    for _ in range(ROUNDS):
        items[open_] = chooser.choose(users[open_], types[open_], time_ms[open_], rng)
        open_ = _repeated(users, items, chooser.items)
        if not len(open_):
            break
    good = np.ones(size, dtype=bool)
    good[open_] = False
    return Contacts(
        user=users[good],
        item=items[good],
        kind=draw_kinds(types[good], settings, rng),
        activity=at[good],
    )


def _repeated(
    users: npt.NDArray[np.int64], items: npt.NDArray[np.int64], catalogue: int
) -> npt.NDArray[np.int64]:
    """Rows without an item and rows whose pair stands in an earlier row."""
    code = users * catalogue + items
    _, first = np.unique(code, return_index=True)
    again = np.ones(len(code), dtype=bool)
    again[first] = False
    return np.flatnonzero(again | (items < 0))
