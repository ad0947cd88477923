"""Users of the simulated world: where they live, how much they listen, and to what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from simulation.catalogue import even_normal, language_of
from simulation.lexicon import LANGUAGES, genres, topics
from simulation.settings import DAY_MS, WorldSettings

USER_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("country", pa.string()), ("birth_year", pa.int64())]
)


@dataclass(frozen=True, kw_only=True)
class Audience:
    """The users' hidden truth, one row per user.

    market, language, circle, birth_year: i64[n].
    topic, topic_circle: i64[n, types, 2 * interests]; the second half replaces the first where
        an interest drifts.
    interest_weight: f64[n, interests], sums to 1.
    drift_ms: i64[n, interests], when an interest changes (never: after the end).
    activity: f64[n, types], relative number of first contacts; 0 where a type is not used.
    devotion: f64[n], standard normal: how readily a user comes back to what was begun.
    since_ms: i64[n, types], when the user began to use the type.
    """

    market: npt.NDArray[np.int64]
    language: npt.NDArray[np.int64]
    circle: npt.NDArray[np.int64]
    birth_year: npt.NDArray[np.int64]
    topic: npt.NDArray[np.int64]
    topic_circle: npt.NDArray[np.int64]
    interest_weight: npt.NDArray[np.float64]
    drift_ms: npt.NDArray[np.int64]
    activity: npt.NDArray[np.float64]
    devotion: npt.NDArray[np.float64]
    since_ms: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.market)

    def user_ids(self) -> list[str]:
        """Names of the users, in row order."""
        return [f"user-{row:06d}" for row in range(len(self))]

    def table(self, settings: WorldSettings) -> pa.Table:
        """The users as the platform knows them. Columns of `USER_SCHEMA`."""
        countries = [settings.markets[row] for row in self.market]
        return pa.table([self.user_ids(), countries, self.birth_year], schema=USER_SCHEMA)

    def interests_at(
        self,
        users: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        slot: npt.NDArray[np.int64],
        time_ms: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Topic and circle of the named interests at the given times, each i64[m]."""
        interests = self.interest_weight.shape[1]
        place = np.where(time_ms >= self.drift_ms[users, slot], slot + interests, slot)
        return self.topic[users, types, place], self.topic_circle[users, types, place]


def draw_audience(settings: WorldSettings, rng: np.random.Generator) -> Audience:
    """Draw the users: market, interests shared in part between types, activity, first days."""
    n = settings.users
    shares = np.array(settings.market_shares)
    market = rng.choice(len(shares), size=n, p=shares / shares.sum())
    languages = np.array([LANGUAGES.index(language_of(name)) for name in settings.markets])
    circle = rng.integers(settings.circles, size=n)
    topic, topic_circle = _draw_interests(settings, circle, rng)
    drifts = rng.random((n, settings.interests)) < settings.drift
    moment = settings.start_ms + rng.integers(settings.days * DAY_MS, size=(n, settings.interests))
    activity, since_ms, devotion = _draw_activity(settings, rng)
    # Generations differ in their circles, so that age says something about a new user.
    generation = 1_955 + circle * (50 / max(settings.circles - 1, 1))
    return Audience(
        market=market,
        language=languages[market],
        circle=circle,
        birth_year=np.clip(rng.normal(generation, 9), 1_930, 2_012).astype(np.int64),
        topic=topic,
        topic_circle=topic_circle,
        interest_weight=rng.dirichlet(np.full(settings.interests, 2.0), size=n),
        drift_ms=np.where(drifts, moment, np.iinfo(np.int64).max),
        activity=activity,
        devotion=devotion,
        since_ms=since_ms,
    )


def _draw_interests(
    settings: WorldSettings, circle: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Topics and circles, each i64[n, types, 2 * interests]; most lie in two favourite genres."""
    shape = (settings.users, len(settings.item_types), 2 * settings.interests)
    per_genre = len(topics()) // len(genres())
    favourites = rng.integers(len(genres()), size=(settings.users, 2))
    choice = rng.integers(2, size=shape)
    genre = favourites[np.arange(settings.users)[:, None, None], choice]
    anywhere = rng.integers(len(topics()), size=shape)
    inside = genre * per_genre + rng.integers(per_genre, size=shape)
    topic = np.where(rng.random(shape) < 0.75, inside, anywhere)
    strays = rng.integers(settings.circles, size=shape)
    loyal = rng.random(shape) < settings.circle_loyalty
    topic_circle = np.where(loyal, circle[:, None, None], strays)
    shared = rng.random(shape) < settings.taste_shared
    topic = np.where(shared, topic[:, :1], topic)
    topic_circle = np.where(shared, topic_circle[:, :1], topic_circle)
    return topic, topic_circle


def _draw_activity(
    settings: WorldSettings, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    n, kinds = settings.users, len(settings.item_types)
    activity = np.zeros((n, kinds))
    since_ms = np.zeros((n, kinds), dtype=np.int64)
    span = settings.days * DAY_MS
    everyone = np.zeros(n, dtype=np.int64)
    general = even_normal(everyone, rng)
    first_adopted = np.ones(n, dtype=bool)
    joined = np.where(rng.random(n) < 0.7, 0.0, rng.random(n) * 0.95)
    for row in range(kinds):
        behaviour = settings.behaviour(row)
        own = 0.6 * general + 0.8 * even_normal(everyone, rng)
        adopted = rng.random(n) < behaviour.adopted
        if row == 0:
            first_day, first_adopted = joined, adopted
        else:
            # Later types are taken up by people who are there already: a fifth of
            # the adopters comes with the habit, the others form it inside the history.
            late = joined + (0.1 + 0.9 * rng.random(n)) * (1 - joined)
            first_day = np.where(rng.random(n) < 0.2, joined, late)
            adopted &= first_adopted | (rng.random(n) < 0.3)
        present = np.maximum(1 - first_day, 0.02)
        activity[:, row] = adopted * present * np.exp(behaviour.activity_spread * own)
        activity[:, row] *= behaviour.contact_share / activity[:, row].sum()
        since_ms[:, row] = settings.start_ms + (first_day * span).astype(np.int64)
    silent = activity.sum(axis=1) == 0
    activity[silent, 0] = np.median(activity[~silent, 0])
    since_ms[silent, 0] = settings.start_ms + (joined[silent] * span).astype(np.int64)
    devotion = 0.6 * general + 0.8 * even_normal(everyone, rng)
    return activity, since_ms, devotion
