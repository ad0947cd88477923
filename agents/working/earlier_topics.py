"""Which topics a state read that was put aside, for the state that begins again in its place."""

import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agents.working.leftovers import other_log_folder
from state import Checkpoints, CorruptArtifact, DamagedState, MadeFrom, StateSettings, WrongState
from state.commit_record import read_meta, topics_read
from state.database import open_database
from streams import TopicIdentity

__all__ = ["EarlierTopics"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EarlierTopics:
    """Topics that an earlier state of a partition read.

    topics: by name; None where that is unknown: then each may be one that was created again.
    """

    topics: Mapping[str, MadeFrom] | None

    @classmethod
    def of(
        cls, checkpoints: Checkpoints, state: Path, partition: int, settings: StateSettings
    ) -> "EarlierTopics | None":
        """Return what the state read that was put aside for the state of a folder.

        Beside it on this disk, or in the store, where a worker on another machine began again.
        None if none was put aside. Raises OSError if the store fails.
        """
        aside = other_log_folder(state)
        try:
            if aside.exists():
                with closing(open_database(aside, settings, read_only=True)) as source:
                    meta = read_meta(source)
                known = None if meta is None else topics_read(meta.made_from, meta.positions)
                return cls(topics=known or None)
            manifest = checkpoints.of_other_log(partition)
        except (WrongState, DamagedState, CorruptArtifact) as error:
            logger.warning("what partition %d read before is unknown: %s", partition, error)
            return cls(topics=None)
        if manifest is None:
            return None
        # An earlier version's manifest names none.
        return cls(topics=manifest.made_from or None)

    def have_earlier(self, found: TopicIdentity) -> bool:
        """Whether an earlier topic of this name than the one found was read."""
        if self.topics is None:
            return True
        made = self.topics.get(found.topic)
        return made is not None and (made.again or found.is_another_than(made.id))
