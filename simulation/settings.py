"""Settings of the simulated world."""

from dataclasses import dataclass, replace

DAY_MS = 86_400_000

STREAM = "stream"
WEAK_ODDS = {"follow": 2.18, "preview": 1.18, "intent": 1.13}
"""Odds of a later stream after each weak signal, relative to a first stream (paper B)."""

WEAK_SHARES = {"follow": 0.4, "preview": 0.4, "intent": 0.2}
"""How often each weak signal opens a contact (ours)."""

KINDS = (STREAM, *WEAK_ODDS)


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How one item type is listened to.

    item_share:    share of the catalogue's items, relative to the other types.
    contact_share: share of first contacts (user meets item), relative to the other types.
    adopted:       share of users who ever use this type.
    returning:     probability that a first stream is followed by another one of the same item.
    returns:       mean number of later streams of a user who comes back (geometric, at least 1).
    return_days:   mean days between two streams of one item by one user.
    activity_spread: standard deviation of log number of first contacts between users.
    popularity_spread: standard deviation of log demand for first contacts between items.
    heavy_users: share of the streams made by the 25 % of users who stream most. Popular items
        and devoted users are come back to more often, as far as it takes to reach this.
    head_items: share of the streams on the 20 % of items streamed most.
    freshness_days: time constant by which the demand for a new item falls to its base.
    base_demand:   demand of an old item, as a share of its demand on the first day.
    """

    item_share: float = 0.5
    contact_share: float = 0.5
    adopted: float = 0.6
    returning: float = 0.5
    returns: float = 3.0
    return_days: float = 4.0
    activity_spread: float = 1.2
    popularity_spread: float = 1.7
    heavy_users: float = 0.75
    head_items: float = 0.82
    freshness_days: float = 14.0
    base_demand: float = 0.4


@dataclass(frozen=True, kw_only=True)
class News:
    """How items appear, burst, fade and return in the world `news`.

    lifetime_hours:  median time after launch in which an item has nine tenths of its demand.
    lifetime_spread: standard deviation of log lifetime between items.
    bursts:          share of items that are suddenly in much demand, once, at a random moment of
                     their lifetime.
    burst_hours:     mean length of a burst (exponential).
    burst_height:    demand in a burst as a multiple of the item's first demand.
    evergreen:       share of items that return: they are in demand whenever their topic is in
                     season, from their launch on.
    evergreen_demand: demand of such an item at the height of its season, as a share of first
                     demand.
    season_days:     time between two seasons of a topic; a season lasts a quarter of it.
    stock_days:      how long before the history the oldest evergreen items were published.
    """

    lifetime_hours: float = 12.0
    lifetime_spread: float = 0.7
    bursts: float = 0.03
    burst_hours: float = 2.0
    burst_height: float = 15.0
    evergreen: float = 0.06
    evergreen_demand: float = 0.15
    season_days: float = 8.0
    stock_days: float = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be."""
        shares = (self.bursts, self.evergreen, self.evergreen_demand)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("bursts, evergreen and evergreen_demand must be shares from 0 to 1")
        if min(self.lifetime_hours, self.burst_hours, self.burst_height, self.season_days) <= 0:
            raise ValueError("lifetime, burst_hours, burst_height and season_days must be positive")


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """What the simulated world consists of.

    item_types: names of the item types; the first is the one most users start with. Any names.
    behaviours: one `Behaviour` per type, or empty: the first type behaves like podcasts, all
        others like audiobooks (the papers' two types).
    items, users: sizes of the catalogue at `end_ms` and of the audience.
    days:     length of the history.
    events:   how many events the history has (at most; a few less, since contacts are kept whole).
    end_ms:   end of the history, ms UTC (default 2025-06-01).
    markets:  countries, largest first; the language follows from the country.
    market_shares: share of users per market, relative.
    circles:  number of hidden audiences that cut across topics. No text tells them: only
        co-listening does, which is what a graph can know and a text encoder cannot.
    interests: topics a user follows at one time, per type.
    taste_shared: share of a user's interests that are the same in all types.
    circle_loyalty: probability that an interest lies in the user's own circle.
    in_circle, in_topic: share of contacts chosen inside topic and circle, and inside the topic
        only; the rest follows the market's charts.
    drift:    share of interests that change once during the history.
    text_truth: probability that a word about an item's topic is really of its topic.
    launched: share of the catalogue that is published during the history.
    reserve:  number of further items held back, to be launched in live traffic.
    weak_share: share of contacts that begin with a weak signal instead of a stream.
    news:     how items appear and fade; None for items whose demand has the `Behaviour`'s
        freshness. With `News`, items are launched evenly in active time, all along the history.
    """

    item_types: tuple[str, ...] = ("podcast", "audiobook")
    behaviours: tuple[Behaviour, ...] = ()
    items: int = 5_000
    users: int = 20_000
    days: int = 90
    events: int = 1_000_000
    end_ms: int = 1_748_736_000_000
    markets: tuple[str, ...] = ("US", "DE", "GB", "MX", "FR")
    market_shares: tuple[float, ...] = (0.45, 0.2, 0.12, 0.13, 0.1)
    circles: int = 6
    interests: int = 4
    taste_shared: float = 0.7
    circle_loyalty: float = 0.85
    in_circle: float = 0.72
    in_topic: float = 0.18
    drift: float = 0.3
    text_truth: float = 0.7
    launched: float = 0.2
    reserve: int = 200
    weak_share: float = 0.3
    news: News | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the fields contradict each other."""
        if not self.item_types or len(set(self.item_types)) != len(self.item_types):
            raise ValueError(f"item_types must be distinct and not empty, got {self.item_types}")
        if self.behaviours and len(self.behaviours) != len(self.item_types):
            raise ValueError(
                f"expected one behaviour per item type ({len(self.item_types)}) or none, "
                f"got {len(self.behaviours)}"
            )
        if len(self.markets) != len(self.market_shares):
            raise ValueError("markets and market_shares must have the same length")
        if min(self.items, self.users, self.days, self.events, self.circles, self.interests) < 1:
            raise ValueError("items, users, days, events, circles and interests must be positive")

    @property
    def start_ms(self) -> int:
        """First moment of the history, ms UTC."""
        return self.end_ms - self.days * DAY_MS

    def behaviour(self, type_row: int) -> Behaviour:
        """How the type with this place in `item_types` is listened to."""
        if self.behaviours:
            return self.behaviours[type_row]
        return PODCASTS if type_row == 0 else AUDIOBOOKS


def news_settings(*, days: int = 14, launches: int = 400) -> WorldSettings:
    """Return the default world `news`: one type, one language, `launches` items a day.

    >>> news_settings().items, news_settings().behaviour(0).returning
    (5600, 0.05)
    """
    return WorldSettings(
        item_types=("article",),
        behaviours=(ARTICLES,),
        items=days * launches,
        users=3_000,
        days=days,
        events=150_000,
        markets=("US",),
        market_shares=(1.0,),
        circles=4,
        in_circle=0.6,
        in_topic=0.2,
        drift=0.5,
        weak_share=0.2,
        news=News(),
    )


def departments(count: int) -> tuple[tuple[str, ...], tuple[Behaviour, ...]]:
    """Return names and behaviours of many item types of unequal sizes, as a shop's departments.

    The n-th has items and contacts in proportion to 1 / (n + 2), and fewer users with each n, so
    that the last ones are rare. Raises ValueError for a count below 1.

    >>> names, behaviours = departments(40)
    >>> names[0], names[39], round(behaviours[39].adopted, 2)
    ('department-01', 'department-40', 0.04)
    """
    if count < 1:
        raise ValueError(f"expected at least 1 item type, got {count}")
    names = tuple(f"department-{number + 1:02d}" for number in range(count))
    behaviours = []
    for number in range(count):
        share = 1 / (number + 2)
        like = PODCASTS if number == 0 else AUDIOBOOKS
        behaviours.append(
            replace(like, item_share=share, contact_share=share, adopted=0.9 * 2 * share)
        )
    return names, tuple(behaviours)


PODCASTS = Behaviour(
    item_share=0.6,
    contact_share=0.63,
    adopted=0.92,
    returning=0.55,
    returns=5.0,
    return_days=6.0,
    activity_spread=1.0,
    popularity_spread=1.4,
    heavy_users=0.66,
    head_items=0.72,
    freshness_days=10.0,
    base_demand=0.25,
)
AUDIOBOOKS = Behaviour(
    item_share=0.4,
    contact_share=0.37,
    adopted=0.58,
    returning=0.6,
    returns=10.0,
    return_days=1.5,
    activity_spread=1.15,
    popularity_spread=1.6,
    heavy_users=0.75,
    head_items=0.82,
    freshness_days=21.0,
    base_demand=0.3,
)
ARTICLES = Behaviour(
    adopted=1.0,
    returning=0.05,
    returns=1.0,
    return_days=0.2,
    activity_spread=1.0,
    popularity_spread=1.0,
    freshness_days=1.0,
    base_demand=1.0,
)
"""Articles and clips are rarely come back to; `News` says how the demand for them changes."""
