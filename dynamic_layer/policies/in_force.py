"""The policies in force and what they read, shared by all recommenders."""

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dynamic_layer.policies.columns import ItemColumns
from dynamic_layer.policies.exploration import question_generator
from dynamic_layer.policies.match_rarity import MatchRarity
from dynamic_layer.policies.policy import Policies

__all__ = ["InForce"]


@dataclass(kw_only=True, eq=False)
class InForce:
    """Policies by list and columns of the catalogue; `policies` is replaced as a whole.

    For exploration: rarity of matches by list; generator gives the random numbers of a question
    (user, list, ms UTC of the user's newest entry).
    """

    columns: ItemColumns = field(default_factory=ItemColumns)
    policies: Policies = field(default_factory=lambda: Policies(by_list={}))
    rarity: defaultdict[str, MatchRarity] = field(default_factory=lambda: defaultdict(MatchRarity))
    generator: Callable[[str, str, int], np.random.Generator] = question_generator

    @property
    def lock(self) -> threading.Lock:
        """Hold it to read several columns at one version."""
        return self.columns.lock
