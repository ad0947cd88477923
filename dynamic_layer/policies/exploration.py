"""How likely a new item is to be taken, and to whom a list shows it: Gamma beliefs and draws.

Thompson sampling over the demand of items (Thompson, 1933; Chapelle and Li, 2011), on a budget: a
draw says how much of it an item gets, and the match of item and user who gets the item.
"""

from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from scipy.special import gammaincinv

__all__ = [
    "DRAWS",
    "Choice",
    "Demands",
    "beliefs",
    "chances",
    "choose",
    "drawn",
    "parts",
    "question_generator",
    "relative_demand",
]

Floats = NDArray[np.float64]

#: Draws of each item's demand. A question uses one of them, drawn by its generator, so that the
#: probability of a choice is the mean over all draws: exact, at the cost of DRAWS sums.
DRAWS = 32
#: Impressions that a prior of one "taken" is worth; without any impression 2 % are taken.
_TAKEN, _SHOWN = 1.0, 50.0
#: A prior is worth at least half and at most twenty takes, however alike an item's neighbours are.
_SHAPES = (0.5, 20.0)
#: The chance falls with this power of rarity behind the users for whom an item is meant. Of the
#: simulated world's explored places 25 % were of fans with 3, 31 % with 6.
_FALL = 6.0


class Demands(NamedTuple):
    """Beliefs in "taken per shown" of n items before any impression: relative mean and shape."""

    mean: Floats
    shape: Floats


def relative_demand(demand: Floats, weight: Floats, average: Floats, launch: Floats) -> Demands:
    """Return what the demand of its neighbours says of each new item.

    demand, weight: f64 [n, k], of an item's nearest items by text; average: f64 [n], of all items
    of its type; launch: f64 [n], demand of its type's items after a launch, relative to all.
    """
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    mean = (share * demand).sum(axis=1)
    spread = (share * (demand - mean[:, None]) ** 2).sum(axis=1)
    shape = np.clip(mean**2 / np.maximum(spread, 1e-12), *_SHAPES)
    # If no neighbour has demand, expect a little instead of none.
    relative = np.maximum(mean / np.maximum(average, 1e-12), 0.05) * launch
    return Demands(relative, shape)


def beliefs(
    demands: Demands, shown: NDArray[np.int64], taken: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return shapes and rates of the Gamma beliefs after impressions, f64 [n] each.

    A prior's mean is the item's relative demand times what is taken of an impression of an item of
    average demand, which all the impressions together tell.
    """
    base = (taken.sum() + _TAKEN) / ((shown * demands.mean).sum() + _SHOWN)
    rate = demands.shape / (demands.mean * base)
    return demands.shape + taken, rate + shown


def drawn(keys: NDArray[np.uint64], shape: Floats, rate: Floats) -> Floats:
    """Return draws from the beliefs, f64 [n, DRAWS]; equal for equal keys and beliefs.

    An item has its own random numbers: its draws do not change with the other items.
    """
    if not len(keys):
        return np.zeros((0, DRAWS))
    uniform = np.stack(
        [
            np.random.default_rng(key).permutation(DRAWS) + np.random.default_rng(key + 1).random()
            for key in keys.tolist()
        ]
    )
    return np.asarray(gammaincinv(shape[:, None], uniform / DRAWS) / rate[:, None])


def parts(draws: Floats) -> Floats:
    """Return the part of what is explored that each item gets, by draw, f64 [n, DRAWS]."""
    return np.asarray(draws / np.maximum(draws.sum(axis=0), 1e-300))


def chances(rarity: Floats, draws: Floats, budget: float) -> Floats:
    """Return how likely each user's list shows each item, by draw, f64 [b, n, DRAWS].

    rarity: f64 [b, n], share of all lists that match an item at least as well; inf where it cannot
    be shown. draws: f64 [n, DRAWS]. budget: items to be shown by a list, on
    average. The sum over items is at most 1.

    An item gets a part of the budget in proportion to its draw. It is shown where its match is rare
    enough to use up this part, and with a falling chance elsewhere, so that every user may see it:
    E[min(1, (t / x)^6)] = 1.2 t for x uniform in 0 to 1 and small t.
    """
    part = budget * parts(draws)
    limit = part * (_FALL - 1) / _FALL
    chance = np.minimum(1.0, limit[None] / rarity[:, :, None]) ** _FALL
    total = chance.sum(axis=1, keepdims=True)
    return np.asarray(chance / np.maximum(total, 1.0))


class Choice(NamedTuple):
    """What is shown at one slot: an item (-1: none), and the probabilities of all and of none."""

    item: int
    of_items: Floats
    of_none: float

    @property
    def propensity(self) -> float:
        """The probability of what is shown."""
        return self.of_none if self.item < 0 else float(self.of_items[self.item])


def choose(chance: Floats, slots: int, generator: np.random.Generator) -> list[Choice]:
    """Return what one user's list explores at each of its slots.

    chance: f64 [n, DRAWS]. An item is shown once: at the first slot that draws it.
    """
    one = int(generator.integers(DRAWS))
    upto = np.cumsum(chance[:, one])
    found: list[Choice] = []
    for slot in range(slots):
        item = int(np.searchsorted(upto, generator.random(), side="right"))
        # At this slot and at none before it, by draw.
        here = (chance * (1.0 - chance) ** slot).mean(axis=1)
        again = item == len(chance) or any(item == other.item for other in found)
        found.append(Choice(-1 if again else item, here, max(0.0, 1.0 - float(here.sum()))))
    return found


def question_generator(user_id: str, list_name: str, newest_ms: int) -> np.random.Generator:
    """Return the random numbers of a question; a question asked again has the same ones.

    newest_ms: time of the newest entry of the user's history.
    """
    text = f"{user_id}\0{list_name}\0{newest_ms}"
    return np.random.default_rng(xxhash.xxh3_64_intdigest(text.encode(errors="replace")))
