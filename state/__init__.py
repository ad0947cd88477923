"""What a partition remembers: histories, windowed co-interactions, checkpoints; artifacts."""

from state.artifacts import ArtifactStore, CorruptArtifact
from state.checkpoint import CheckpointManifest, Checkpoints
from state.co_interactions import CoInteractions
from state.history import History
from state.keys import item_key
from state.merge import CATALOGUE_SCHEMA, MergedState, merge_checkpoints
from state.partition import (
    Applied,
    EventColumns,
    Missing,
    Observations,
    PartitionState,
    WrongState,
)
from state.settings import StateSettings, Window

__all__ = [
    "CATALOGUE_SCHEMA",
    "Applied",
    "ArtifactStore",
    "CheckpointManifest",
    "Checkpoints",
    "CoInteractions",
    "CorruptArtifact",
    "EventColumns",
    "History",
    "MergedState",
    "Missing",
    "Observations",
    "PartitionState",
    "StateSettings",
    "Window",
    "WrongState",
    "item_key",
    "merge_checkpoints",
]
