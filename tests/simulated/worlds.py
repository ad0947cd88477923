"""What every night has: topics, settings, users and items."""

from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.experiments.arms import ArmSettings, CanarySettings, ExperimentSettings
from state import Action, StateSettings
from streams import ActionSettings, EventRules, SourceSettings, TopicSettings, murmur2_partition

PARTITIONS, WORKERS = 2, 2
TOPICS = TopicSettings(partitions=PARTITIONS)
PLAYER = "player"
SOURCES = (
    SourceSettings(topic=PLAYER),
    SourceSettings(topic=TOPICS.impressions, format="impressions"),
)
STATE = StateSettings(
    delta_room=1 << 12,
    actions=(Action(kind="dislike", sign="negative"), Action(kind="follow", known=True)),
    impressions=True,
)
RULES = EventRules(
    actions=(
        ActionSettings(kind="dislike", sign="negative"), ActionSettings(kind="follow", known=True)
    )
)  # fmt: skip
CANARY = "canary"
#: Of the nights that have a canary.
EXPERIMENTS = ExperimentSettings(
    arms=(
        ArmSettings(name="control", share=0.4),
        ArmSettings(
            name="canary", share=0.6, channel=CANARY,
            canary=CanarySettings(
                first=0.2, step=0.2, every_s=300, margin=0.5, questions=200, publications=1
            ),
        ),
    )
)  # fmt: skip
#: Topics of what users did and were shown.
BY_USER = (TOPICS.events, *(source.topic for source in SOURCES))
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
USERS = [f"user-{n}-5d41402abc4b2a76" for n in range(5)]
ITEMS = [f"item-{n}" for n in range(8)]
TYPES = ["song", "show"]
#: Width of text vectors and of those of the HGNN.
TEXT, WIDTH = 6, 4
BAD = [b"", b"{", b"\xff\xfe", b'{"user_id": 1}', b"[" * 64, b'{"kind": "unheard-of"}']


class Texts:
    """A text model: each text has a vector of its own, of no meaning."""

    fingerprint, settings = "f", None

    def matching(self, _recipe: object) -> "Texts":
        """Return itself, whatever a bundle was made with."""
        return self

    def encode(self, texts: list[str]) -> NDArray[Any]:
        """Return f32 [n, TEXT]."""
        digests = [np.frombuffer(sha256(text.encode()).digest(), np.uint8) for text in texts]
        return np.array([one[:TEXT] / 255 for one in digests], np.float32).reshape(-1, TEXT)


def witness_of(part: int) -> str:
    """A user of a partition who is never erased."""
    return next(
        name
        for name in (f"witness-{n}" for n in range(1_000))
        if murmur2_partition(name.encode(), PARTITIONS) == part
    )
