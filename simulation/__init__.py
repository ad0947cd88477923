"""The simulated world: catalogue, users, history and live traffic, drawn from a seed."""

from simulation.catalogue import ITEM_SCHEMA
from simulation.faults import FATES, Fault, faults
from simulation.settings import KINDS, Behaviour, News, WorldSettings, departments, news_settings
from simulation.world import EVENT_SCHEMA, LiveStep, Newcomer, World

__all__ = [
    "EVENT_SCHEMA",
    "FATES",
    "ITEM_SCHEMA",
    "KINDS",
    "Behaviour",
    "Fault",
    "LiveStep",
    "Newcomer",
    "News",
    "World",
    "WorldSettings",
    "departments",
    "faults",
    "news_settings",
]
