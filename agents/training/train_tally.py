"""Prometheus metrics of a trainer."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from agents.store_tally import StoreTally
from dynamic_layer import AgainstPopularity, Asked, GraphRound, Row

__all__ = ["TrainTally"]

#: Generations that have series of the prequential measure: those that were asked last.
GENERATIONS = 4


class TrainTally:
    """Metrics of one trainer since its start; no label names the trainer.

    The prequential measure has series for each item type, arm and one of the last generations.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register with `registry` (default a fresh one)."""
        self.registry = registry = registry or CollectorRegistry()
        self.store = StoreTally(registry)
        self.examples = Counter(
            "segue_trainer_examples", "Examples kept for training.", registry=registry
        )
        self.steps = Counter("segue_trainer_steps", "Optimiser steps.", registry=registry)
        self.resting = Gauge(
            "segue_trainer_resting", "1 while no examples are left to learn.", registry=registry
        )
        self.published = Counter("segue_bundles_published", "Bundles announced.", registry=registry)
        self.refused = Counter(
            "segue_bundles_refused", "Bundles that the gate refused.", registry=registry
        )
        self.unpublished = Counter(
            "segue_bundles_unpublished",
            "Bundles that passed the gate but could not be stored.",
            registry=registry,
        )
        self.row_deltas = Counter(
            "segue_row_deltas_sent", "Deltas of changed item rows sent.", registry=registry
        )
        self.rows_sent = Counter(
            "segue_rows_sent", "Changed item rows in the deltas sent.", registry=registry
        )
        self.row_bytes = Counter(
            "segue_row_delta_sent_bytes", "Bytes of the deltas sent.", registry=registry
        )
        self.graph_computed = Counter(
            "segue_live_graph_computed",
            "Items whose values the live graph computed, summed over the layers of the HGNN.",
            registry=registry,
        )
        self.graph_changed = Counter(
            "segue_live_graph_changed", "Items whose HGNN vector changed.", registry=registry
        )
        self.graph_waiting = Gauge(
            "segue_live_graph_waiting",
            "Items whose new neighbours wait for the next delta of changed rows.",
            registry=registry,
        )
        self.graph_seconds = Counter(
            "segue_live_graph_seconds",
            "Processor time of one thread in which the trainer computed graph and vectors.",
            registry=registry,
        )
        self.graph_lag = Gauge(
            "segue_live_graph_lag_seconds",
            "Time between the last delta of changed rows and the arrival of the oldest example of "
            "its graph that was in no earlier one.",
            registry=registry,
        )
        self.published_at = Gauge(
            "segue_bundle_timestamp_seconds", "Creation time of the last bundle.", registry=registry
        )
        self.static_made_at = Gauge(
            "segue_static_bundle_timestamp_seconds",
            "Creation time of the newest announced static bundle; 0 before the first.",
            registry=registry,
        )
        self.hit_ratio = Gauge(
            "segue_bundle_held_out_hit_ratio",
            "HR@10 of the last bundle on held-out examples.",
            registry=registry,
        )
        self.popularity_types = Gauge(
            "segue_bundle_serves_popularity",
            "1 for item types whose lists are of live popularity, since the last bundle's own "
            "lists were behind it on held-out examples.",
            ["item_type"],
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
            "Time that the last checkpoint blocked training.",
            registry=registry,
        )
        self.checkpointed_at = Gauge(
            "segue_trainer_checkpoint_timestamp_seconds",
            "Time of the last checkpoint.",
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
                ("examples", "New examples on which the served bundle was evaluated."),
                ("hits", "Evaluated examples whose item was in the top ten."),
                (
                    "reciprocal_ranks",
                    "Sum of 1 / rank of the items of evaluated examples, ranked in the complete "
                    "catalogue.",
                ),
            )
        }
        self.skew = Gauge(
            "segue_feature_skew_ratio",
            "Difference between a feature that a worker's ranking head read and the same feature "
            "as training reads it, as a multiple of the tolerance: the greatest of the last "
            "answers. More than 1 is skew.",
            ["feature"],
            registry=registry,
        )
        self.skew_lists = Counter(
            "segue_skew_lists",
            "Sampled lists of workers: compared, skewed, dropped, or why they were not compared.",
            ["outcome"],
            registry=registry,
        )
        self._series: dict[int, set[tuple[str, ...]]] = {}
        self.left_out = Counter(
            "segue_prequential_left_out",
            "New examples that were not evaluated.",
            ["reason"],
            registry=registry,
        )

    def compared(self, found: Mapping[str, AgainstPopularity]) -> None:
        """Show which item types the last bundle serves by popularity."""
        for name, one in found.items():
            self.popularity_types.labels(name).set(one.popularity)

    def followed(self, done: GraphRound) -> None:
        """Count what the live graph computed for a delta of changed rows."""
        self.graph_computed.inc(done.computed)
        self.graph_changed.inc(done.changed)
        self.graph_waiting.set(done.waiting)
        self.graph_seconds.inc(done.seconds)

    def asked(self, row: Row, asked: Asked) -> None:
        """Count the results of an evaluation."""
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
