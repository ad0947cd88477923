"""What a partition remembers: histories, windowed co-interactions, checkpoints; artifacts."""

from state.artifacts import ArtifactStore, CorruptArtifact
from state.batches import Applied, Erased, EventColumns, Observations
from state.checkpoint import CheckpointManifest, Checkpoints
from state.co_interactions import CoInteractions
from state.commit_record import Missing, WrongState
from state.demand import MARKETS, DemandBlock, market_of
from state.erasure import apply_in_order
from state.history import History
from state.keys import item_key
from state.merge import (
    CATALOGUE_SCHEMA,
    MergedState,
    PartitionCounts,
    merge_checkpoints,
    merged_of,
    partitions_of,
    read_checkpoint,
)
from state.partition import LOGGED_AT, PartitionState
from state.settings import StateSettings, Window
from state.warming import compile_kernels

__all__ = [
    "CATALOGUE_SCHEMA",
    "LOGGED_AT",
    "MARKETS",
    "Applied",
    "ArtifactStore",
    "CheckpointManifest",
    "Checkpoints",
    "CoInteractions",
    "CorruptArtifact",
    "DemandBlock",
    "Erased",
    "EventColumns",
    "History",
    "MergedState",
    "Missing",
    "Observations",
    "PartitionCounts",
    "PartitionState",
    "StateSettings",
    "Window",
    "WrongState",
    "apply_in_order",
    "compile_kernels",
    "item_key",
    "market_of",
    "merge_checkpoints",
    "merged_of",
    "partitions_of",
    "read_checkpoint",
]
