"""What the owner's kinds of events mean: settings of actions."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["ActionSettings"]


@dataclass(frozen=True, kw_only=True)
class ActionSettings:
    """Meaning of one kind of event.

    kind: name of the kind; it need not be in events.kinds too.
    sign: negative: the item leaves the user's lists, items like it are demoted (state.demotion),
        and the event is not a training example, demand, a co-interaction or a question. positive:
        takes back an earlier negative action on the item. neutral: a signal that does not take it
        back.
    weight: weight of its training examples; 0 leaves them out. Not for negative kinds.
    known: whether it makes the item known to the user, so that lists of discovery leave it out;
        default: as `graph`.
    graph: whether it builds the graph and counts as demand and as a question, in addition to the
        kinds of state.graph_kinds. A change needs a replay of the log.
    """

    kind: str
    sign: Literal["positive", "neutral", "negative"] = "positive"
    weight: float = 1.0
    known: bool | None = None
    graph: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning; raises ValueError."""
        if not self.kind:
            raise ValueError("actions: kind: expected a name, got an empty one")
        if self.sign == "negative" and self.graph:
            raise ValueError(f"actions: {self.kind!r} is negative and cannot build the graph")
        if self.sign == "negative" and self.weight != 1.0:
            raise ValueError(
                f"actions: {self.kind!r} is negative and makes no training examples: it has no "
                "weight"
            )
