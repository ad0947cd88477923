"""The policies in force and the attributes that they read, shared by all recommenders."""

import threading
from dataclasses import dataclass, field

from dynamic_layer.policies.columns import ItemColumns
from dynamic_layer.policies.policy import Policies

__all__ = ["InForce"]


@dataclass(kw_only=True, eq=False)
class InForce:
    """Policies by list and columns of the catalogue; `policies` is replaced as a whole."""

    columns: ItemColumns = field(default_factory=ItemColumns)
    policies: Policies = field(default_factory=lambda: Policies(by_list={}))

    @property
    def lock(self) -> threading.Lock:
        """Hold it to read several columns at one version."""
        return self.columns.lock
