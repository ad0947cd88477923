"""Items of the simulated world: what they are about, what their text says, when they appear.

For a shop, also what it knows of its products: stock, price, creator and markets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import ndtri

from simulation.lexicon import GENERIC, LANGUAGES, TITLES, Topic, topics
from simulation.rhythm import HOUR_MS, Rhythm
from simulation.settings import DAY_MS, News, WorldSettings

LANGUAGE_OF = {"DE": "de", "AT": "de", "CH": "de", "MX": "es", "ES": "es", "AR": "es", "FR": "fr"}

ITEM_SCHEMA = pa.schema(
    [
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("language", pa.string()),
        ("genres", pa.list_(pa.string())),
        ("published_at", pa.int64()),
    ]
)


def language_of(market: str) -> str:
    """Language of a country; English where none is known.

    >>> language_of("DE"), language_of("US")
    ('de', 'en')
    """
    return LANGUAGE_OF.get(market, "en")


@dataclass(frozen=True, kw_only=True)
class Items:
    """The catalogue's hidden truth, one row per item, in order of publication.

    type_row, language, topic, second_topic, circle: i64[n], row numbers of their vocabularies.
    weight: f64[n], demand for the item when it is new.
    appeal: f64[n], the same as a standard normal value within the type.
    published_ms: i64[n], ms UTC; reserved items lie in the far future until they are launched.
    """

    type_row: npt.NDArray[np.int64]
    language: npt.NDArray[np.int64]
    topic: npt.NDArray[np.int64]
    second_topic: npt.NDArray[np.int64]
    circle: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    appeal: npt.NDArray[np.float64]
    published_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.type_row)


def draw_items(settings: WorldSettings, rng: np.random.Generator) -> Items:
    """Draw the catalogue: `settings.items` published ones, then `settings.reserve` for later."""
    n = settings.items + settings.reserve
    behaviours = [settings.behaviour(row) for row in range(len(settings.item_types))]
    shares = np.array([b.item_share for b in behaviours])
    type_row = rng.choice(len(shares), size=n, p=shares / shares.sum())
    demand = np.zeros(len(LANGUAGES))
    for market, share in zip(settings.markets, settings.market_shares, strict=True):
        demand[LANGUAGES.index(language_of(market))] += share
    spread = np.array([b.popularity_spread for b in behaviours])[type_row]
    appeal = even_normal(type_row, rng)
    topic = rng.integers(len(topics()), size=n)
    # The other topic is in another genre half of the time, so that genres do not give it away.
    second_topic = (topic + rng.integers(1, len(topics()), size=n)) % len(topics())
    return Items(
        type_row=type_row,
        language=rng.choice(len(LANGUAGES), size=n, p=demand / demand.sum()),
        topic=topic,
        second_topic=second_topic,
        circle=rng.integers(settings.circles, size=n),
        weight=np.exp(appeal * spread),
        appeal=appeal,
        published_ms=_draw_publication(settings, rng),
    )


def even_normal(groups: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Standard normal values in random order, evenly spaced by quantile within each group.

    Plain draws of a few thousand heavy-tailed weights would move the marks by several points
    from seed to seed.
    """
    values = np.zeros(len(groups))
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        values[rng.permutation(mine)] = ndtri((np.arange(len(mine)) + 0.5) / len(mine))
    return values


def _draw_publication(settings: WorldSettings, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if settings.news is not None:
        return _draw_launches(settings, settings.news, rng)
    launched = int(settings.items * settings.launched)
    old = settings.items - launched
    age = rng.exponential(700 * DAY_MS, size=old)
    before = settings.start_ms - age.astype(np.int64)
    during = settings.start_ms + rng.integers(settings.days * DAY_MS, size=launched)
    return np.concatenate([np.sort(np.concatenate([before, during])), _reserved(settings)])


def news_begin_ms(settings: WorldSettings, news: News) -> int:
    """Return when launches of articles begin: what fades is there from the start on."""
    return settings.start_ms - round(2 * news.lifetime_hours * HOUR_MS)


def _draw_launches(
    settings: WorldSettings, news: News, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Publication of articles, evenly in active time; before these, a stock of evergreen items."""
    begin = news_begin_ms(settings, news)
    stock = int(settings.items * news.evergreen)
    ages = rng.random(stock) * news.stock_days * DAY_MS
    launched = Rhythm(begin, settings.end_ms).time_ms(rng.random(settings.items - stock))
    both = np.concatenate([begin - 1 - ages.astype(np.int64), launched])
    return np.concatenate([np.sort(both), _reserved(settings)])


def _reserved(settings: WorldSettings) -> npt.NDArray[np.int64]:
    return np.full(settings.reserve, np.iinfo(np.int64).max // 4, dtype=np.int64)


def describe(items: Items, settings: WorldSettings, rng: np.random.Generator) -> pa.Table:
    """Write the catalogue as people see it. Columns of `ITEM_SCHEMA`, one row per item.

    The text tells the main topic with noise (`settings.text_truth`), the second topic rarely and
    the circle never.
    """
    known = topics()
    numbers = _number_within_type(items.type_row)
    types = [settings.item_types[row] for row in items.type_row]
    titles, descriptions = [], []
    for row in range(len(items)):
        title, description = _text(items, row, known, settings.text_truth, rng)
        titles.append(title)
        descriptions.append(description)
    columns = [
        [f"{name}-{number:05d}" for name, number in zip(types, numbers, strict=True)],
        types,
        titles,
        descriptions,
        [LANGUAGES[row] for row in items.language],
        [[known[row].genre] for row in items.topic],
        items.published_ms,
    ]
    return pa.table(columns, schema=ITEM_SCHEMA)


def _number_within_type(type_row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    numbers = np.zeros(len(type_row), dtype=np.int64)
    for row in np.unique(type_row):
        of_type = type_row == row
        numbers[of_type] = np.arange(of_type.sum())
    return numbers


def _text(
    items: Items, row: int, known: tuple[Topic, ...], truth: float, rng: np.random.Generator
) -> tuple[str, str]:
    language = LANGUAGES[items.language[row]]
    words = []
    for place in range(9):
        if rng.random() < truth:
            topic = known[items.topic[row]]
        elif rng.random() < 0.2:
            topic = known[items.second_topic[row]]
        else:
            topic = known[rng.integers(len(known))]
        vocabulary = topic.words[language] if place < 3 or rng.random() < 0.6 else GENERIC[language]
        word = vocabulary[rng.integers(len(vocabulary))]
        while place < 3 and word in words:
            word = vocabulary[rng.integers(len(vocabulary))]
        words.append(word)
    pattern = TITLES[language][rng.integers(len(TITLES[language]))]
    title = pattern.format(*(word[0].upper() + word[1:] for word in words[:3]))
    return title, ", ".join(dict.fromkeys(words[3:])) + "."


#: Products of one creator, on average; of all products, so many are sold in each market.
OF_ONE_CREATOR, SOLD_IN = 4, 0.8
SOLD_OUT, MOST_IN_STOCK = 0.1, 40

ATTRIBUTES = pa.struct(
    [
        ("stock", pa.int64()),
        ("price", pa.float64()),
        ("creator", pa.string()),
        ("markets", pa.list_(pa.string())),
    ]
)


def with_attributes(catalogue: pa.Table, markets: Sequence[str], seed: int) -> pa.Table:
    """Return a catalogue with a column `attributes`, drawn from a seed.

    A tenth is sold out. Prices are 5 to 100. A product is sold in one market at least.
    """
    rng = np.random.default_rng([seed, *b"shop"])
    size = catalogue.num_rows
    creators = max(1, size // OF_ONE_CREATOR)
    stock = np.where(
        rng.random(size) < SOLD_OUT, 0, rng.integers(1, MOST_IN_STOCK + 1, size=size)
    )  # fmt: skip
    price = np.round(np.exp(rng.uniform(np.log(5), np.log(100), size=size)), 2)
    creator = rng.integers(creators, size=size)
    sold = rng.random((size, len(markets))) < SOLD_IN
    sold[np.arange(size), rng.integers(len(markets), size=size)] = True
    rows = [
        {
            "stock": int(stock[row]),
            "price": float(price[row]),
            "creator": f"creator-{creator[row]:04d}",
            "markets": [market for market, here in zip(markets, sold[row], strict=True) if here],
        }
        for row in range(size)
    ]
    return catalogue.append_column("attributes", pa.array(rows, ATTRIBUTES))
