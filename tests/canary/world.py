"""What a canary run is about: two channels, and listeners who keep to their topics."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from agents import TrainerSettings
from agents.experiments.arms import ArmSettings, CanarySettings, ExperimentSettings
from dynamic_layer import GateSettings, RankingSettings
from segue.settings import Settings
from streams import DEFAULT_CHANNEL, Event, encode
from streams.log_record import now_ms
from tests.crash.world import Writer, crash_settings
from tests.dynamic_layer.worlds import Items, make_items

__all__ = [
    "BAD",
    "CANARY",
    "CHANNEL",
    "CONTROL",
    "FIRST_OF",
    "Listeners",
    "canary_settings",
    "make_world",
]

CONTROL, CANARY, CHANNEL = "today", "next", "next"
#: Bundles of the two channels have numbers apart, so that a record's generation tells its channel.
FIRST_OF = {DEFAULT_CHANNEL: 1, CHANNEL: 100_001}
ITEMS, TOPICS, USERS = 300, 15, 3_000
#: Share of events that are about a listener's own topic.
FAITHFUL = 0.9
#: Settings that make bundles bad, and a gate that lets them pass: demand drowns what is known of a
#: user, and everybody listens to something else.
BAD = ("dynamic.popularity.weights=[200.0]", "dynamic.gate.max_loss=1.0")

EXPERIMENT = ExperimentSettings(
    salt="canary-run",
    arms=(
        ArmSettings(name=CONTROL, share=0.5),
        ArmSettings(
            name=CANARY, share=0.5, channel=CHANNEL,
            # Small samples have wide intervals: a loss of half must be enough to be ruled out.
            canary=CanarySettings(
                first=0.1, step=0.1, every_s=3.0, margin=0.5, questions=100, publications=1,
                look_s=1.0,
            ),
        ),
    ),
)  # fmt: skip


def canary_settings(folder: Path, address: str) -> Settings:
    """Settings with which a canary lives through in two minutes what takes days elsewhere."""
    settings = crash_settings(folder, address)
    return replace(
        settings,
        experiments=EXPERIMENT,
        dynamic=replace(
            settings.dynamic, gate=GateSettings(), ranking=RankingSettings(enabled=False)
        ),
        trainer=TrainerSettings(
            slice_s=0.1, settle_s=0.5, publish_every_s=5.0, min_examples=100,
            checkpoint_every_s=1.0, prequential_per_s=50.0, threads=1,
        ),
    )  # fmt: skip


def make_world(seed: int) -> Items:
    """Return the items of the run."""
    return make_items(ITEMS, TOPICS, seed=seed)


class Listeners(Writer):
    """Writes events of users each of whom likes one topic, until told to stop."""

    def next_record(self) -> tuple[str, bytes | None, bytes]:
        """Draw an event: topic, key, value."""
        number = self._draw.randrange(USERS)
        rows = range(len(self._items.item_ids))
        if self._draw.random() < FAITHFUL:
            rows = np.flatnonzero(self._items.topic == number % TOPICS).tolist()
        row = self._draw.choice(rows)
        event = Event(
            user_id=f"user-{number:05d}", item_id=self._items.item_ids[row],
            item_type=self._items.item_types[row], kind="stream", timestamp=now_ms(),
        )  # fmt: skip
        return self._settings.topics.events, event.key, encode(event)
