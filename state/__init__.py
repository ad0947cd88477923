"""What a partition remembers: histories, windowed co-interactions, checkpoints; artifacts."""

from state.artifacts import ArtifactStore, CorruptArtifact
from state.co_interactions import CoInteractions
from state.keys import item_key
from state.merge import CATALOGUE_SCHEMA, MergedState
from state.settings import StateSettings, Window

__all__ = [
    "CATALOGUE_SCHEMA",
    "ArtifactStore",
    "CoInteractions",
    "CorruptArtifact",
    "MergedState",
    "StateSettings",
    "Window",
    "item_key",
]
