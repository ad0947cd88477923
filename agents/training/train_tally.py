"""What a trainer counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from dynamic_layer import Asked, Row

__all__ = ["TrainTally"]

#: Generations that have series of the prequential measure: those that were asked last.
GENERATIONS = 4


class TrainTally:
    """Counts of one trainer since it started. A trainer is one: no label says which.

    The prequential measure has series for each item type, arm and one of the last generations.
    """

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
        self.canary_share = Gauge(
            "segue_canary_share_ratio",
            "Share of all users that a canary arm has.",
            ["arm"],
            registry=registry,
        )
        self.canary_stopped = Gauge(
            "segue_canary_stopped",
            "1 while a canary arm is stopped, until a person restarts it.",
            ["arm"],
            registry=registry,
        )
        labels = ("item_type", "generation", "arm", "model")
        self._prequential = {
            name: Counter(f"segue_prequential_{name}", text, labels, registry=registry)
            for name, text in (
                ("examples", "New examples about which the served bundle was asked."),
                ("hits", "Those whose item was among the best ten."),
                ("reciprocal_ranks", "Sum of 1 / rank of their items in the whole catalogue."),
            )
        }
        self._series: dict[int, set[tuple[str, ...]]] = {}
        self.left_out = Counter(
            "segue_prequential_left_out",
            "New examples about which nothing was asked.",
            ["reason"],
            registry=registry,
        )

    def asked(self, row: Row, asked: Asked) -> None:
        """Count what asking about some examples came to."""
        found = {
            "served": (asked.hits, asked.reciprocal_ranks),
            "popularity": (asked.popularity_hits, asked.popularity_reciprocal_ranks),
        }
        for model, (hits, reciprocal_ranks) in found.items():
            labels = (row.item_type, str(row.generation), row.arm, model)
            self._series.setdefault(row.generation, set()).add(labels)
            self._prequential["examples"].labels(*labels).inc(asked.examples)
            self._prequential["hits"].labels(*labels).inc(hits)
            self._prequential["reciprocal_ranks"].labels(*labels).inc(reciprocal_ranks)
        # In the order in which they were first asked: a rollback takes up an old number.
        for old in list(self._series)[:-GENERATIONS]:
            if old != row.generation:
                for gone in self._series.pop(old):
                    for counter in self._prequential.values():
                        counter.remove(*gone)
