"""Other places that can hold data of an erased user, and for how long."""

from collections.abc import Iterable

from agents.working.leftovers import LEFTOVER_DAYS
from streams import HoldingCopy, PersonalTopic, TopicSettings

__all__ = ["copies_of"]


def copies_of(topics: TopicSettings, sources: Iterable[PersonalTopic]) -> list[HoldingCopy]:
    """Return every place, as a receipt names it; docs/erasure.md says what each holds.

    Without a number of days: Segue does not remove it, or another event removes it.
    """
    days: dict[str, float | None] = {
        f"topic {topics.users}": topics.users_days,
        f"topic {topics.events}": topics.events_days,
        f"topic {topics.impressions}": topics.events_days,
        f"topic {topics.recommendations}": topics.recommendations_days,
        f"topic {topics.requests}": topics.requests_days,
        f"topic {topics.dead_letters}": topics.dead_letters_days,
        f"topic {topics.examples}": topics.events_days,
        f"topic {topics.receipts}": topics.receipts_days,
        f"topic {topics.rows}": None,
        f"topic {topics.erasures}": None,
        **{
            f"topic {source.topic}": None
            for source in sources
            if source.topic != topics.impressions
        },
        "workers: local state of partitions that other workers hold": LEFTOVER_DAYS,
        "workers and consoles: state that was put aside "
        "(*.damaged, *.other-log, *.other-settings)": LEFTOVER_DAYS,
        "checkpoints of another log, until the partition's next checkpoint": None,
        "consoles that are not running": None,
        "replays": None,
        "trainers: replay buffer and checkpoints": None,
        "static and dynamic bundles": None,
        "items whose ids are texts": None,
    }
    return [HoldingCopy(place=place, days=found) for place, found in days.items()]
