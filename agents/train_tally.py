"""What a trainer counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["TrainTally"]


class TrainTally:
    """Counts of one trainer since it started. No labels: a trainer is one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default a fresh one)."""
        self.registry = registry = registry or CollectorRegistry()
        self.examples = Counter(
            "segue_trainer_examples", "Examples kept for training.", registry=registry
        )
        self.steps = Counter("segue_trainer_steps", "Optimiser steps.", registry=registry)
        self.resting = Gauge(
            "segue_trainer_resting", "1 while there is nothing left to learn.", registry=registry
        )
        self.published = Counter("segue_bundles_published", "Bundles announced.", registry=registry)
        self.refused = Counter(
            "segue_bundles_refused", "Bundles that the gate refused.", registry=registry
        )
        self.published_at = Gauge(
            "segue_bundle_timestamp_seconds", "When the last bundle was made.", registry=registry
        )
        self.hit_ratio = Gauge(
            "segue_bundle_held_out_hit_ratio",
            "HR@10 of the last bundle on held-out examples.",
            registry=registry,
        )
        self.checkpoints = Counter(
            "segue_trainer_checkpoints", "Checkpoints of the trainer written.", registry=registry
        )
        self.checkpoints_failed = Counter(
            "segue_trainer_checkpoints_failed",
            "Checkpoints of the trainer that could not be written.",
            registry=registry,
        )
        self.checkpoint_seconds = Gauge(
            "segue_trainer_checkpoint_seconds",
            "How long the last checkpoint stopped training.",
            registry=registry,
        )
        self.checkpointed_at = Gauge(
            "segue_trainer_checkpoint_timestamp_seconds",
            "When the last checkpoint was written.",
            registry=registry,
        )
