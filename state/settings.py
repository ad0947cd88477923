"""What a state directory is made with; the hash of it is stored beside the state."""

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

__all__ = ["Action", "Sign", "StateSettings", "Window"]

Sign = Literal["positive", "neutral", "negative"]

#: A history entry keeps its visits as two 64-bit words, one bit for a bucket.
MAX_BUCKETS = 128
HOUR_MS = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Window:
    """The time span within which two events can form a co-interaction.

    bucket_ms: length of one bucket in milliseconds (default one day).
    buckets: number of buckets in the window, including the current one; at most 128.
    """

    bucket_ms: int = 86_400_000
    buckets: int = 90

    def __post_init__(self) -> None:
        """Refuse a window that the storage cannot hold; raises ValueError."""
        if self.bucket_ms <= 0:
            raise ValueError(f"bucket_ms must be positive, not {self.bucket_ms}")
        if not 1 <= self.buckets <= MAX_BUCKETS:
            raise ValueError(f"a window has 1 to {MAX_BUCKETS} buckets, not {self.buckets}")

    def bucket(self, timestamp_ms: int) -> int:
        """Bucket number of a timestamp. Never negative; raises ValueError before the epoch.

        >>> Window().bucket(86_400_000)
        1
        """
        if timestamp_ms < 0:
            raise ValueError(f"timestamp {timestamp_ms} lies before the epoch")
        return timestamp_ms // self.bucket_ms

    def first_live(self, watermark: int) -> int:
        """First bucket inside the window when `watermark` is the greatest bucket seen."""
        return watermark - self.buckets + 1


@dataclass(frozen=True, kw_only=True)
class Action:
    """Meaning of the events of one kind for their item.

    kind: name of the kind of event.
    sign: a negative action rejects its item until a later positive one; a neutral one does neither.
    known: whether it makes the item known to the user.
    """

    kind: str
    sign: Sign = "positive"
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class StateSettings:
    """Settings that decide what the state is; two states can be compared only if these are equal.

    window: time span of histories and co-interactions.
    demand_bucket_ms: length of a bucket of live popularity, which counts events of the graph kinds.
        If a bucket of the window is not a multiple of it, the greatest length that divides both is
        used.
    graph_kinds: kinds of events that make co-interactions (the paper's strong signal).
    history_cap: maximum number of entries in a history (ours; the papers have no limit).

    Settings that only decide how the state is read:
    text_types: item types whose ids are texts. Set `events.text_types` instead; this setting
        follows it.
    text_users: number of users inside the window from which on such a text is an item of the
        catalogue and may be shown to other users, since a text can identify its author. Only events
        of the graph kinds count.
    actions: meaning of kinds of events. Set `events.actions` instead; this setting follows it.
    demotion: factor on the chance of items that are similar to a disliked one: an item at cosine c
        of a disliked item's vector keeps demotion ** c of its chance (no change at c <= 0). 1
        demotes nothing (ours; not fitted).

    Settings of the counts of shown and taken items, which begin at zero when these change:
    impressions: whether a source of impressions is read. This setting follows `sources`.
    taken_hours: time after an impression within which an event of the graph kinds on the item makes
        it taken (ours; not fitted).

    Settings that only decide how the state is stored:
    write_buffer_bytes: RocksDB memtable size of one partition.
    block_cache_bytes: RocksDB block cache of one partition.
    history_cache_bytes: approximate limit of unpacked histories in memory between two commits; all
        open partitions of a worker share it.
    delta_room: initial capacity for pair deltas between two commits, 12 bytes each; it grows when
        one commit needs more.
    merge_runs: number of adjacency runs of a level that are merged into one of the next level.
    """

    window: Window = field(default_factory=Window)
    demand_bucket_ms: int = HOUR_MS
    graph_kinds: tuple[str, ...] = ("stream",)
    history_cap: int = 512
    text_types: tuple[str, ...] = ()
    text_users: int = 5
    actions: tuple[Action, ...] = ()
    demotion: float = 0.25
    impressions: bool = False
    taken_hours: float = 24
    write_buffer_bytes: int = 32 << 20
    block_cache_bytes: int = 32 << 20
    history_cache_bytes: int = 512 << 20
    delta_room: int = 1 << 19
    merge_runs: int = 8

    def __post_init__(self) -> None:
        """Refuse settings without meaning; raises ValueError."""
        if self.history_cap < 1:
            raise ValueError(f"history_cap must be at least 1, not {self.history_cap}")
        if self.demand_bucket_ms < 1:
            raise ValueError(f"demand_bucket_ms must be at least 1, not {self.demand_bucket_ms}")
        if not self.taken_hours > 0:
            raise ValueError(f"taken_hours must be above 0, not {self.taken_hours}")
        if self.text_users < 1:
            raise ValueError(f"text_users must be at least 1, not {self.text_users}")
        if self.merge_runs < 2:
            raise ValueError(f"merge_runs must be at least 2, not {self.merge_runs}")
        if not self.graph_kinds:
            raise ValueError("graph_kinds is empty: no event would make a co-interaction")
        if not 0 < self.demotion <= 1:
            raise ValueError(f"demotion must be above 0 and at most 1, not {self.demotion}")
        self._check_actions()

    def _check_actions(self) -> None:
        """Refuse actions that contradict each other or the graph kinds; raises ValueError."""
        kinds = [action.kind for action in self.actions]
        for action in self.actions:
            if kinds.count(action.kind) > 1:
                raise ValueError(f"actions: kind {action.kind!r} is named twice")
            if action.sign == "negative" and action.kind in self.graph_kinds:
                raise ValueError(
                    f"actions: kind {action.kind!r} is negative, but also one of graph_kinds"
                )
        if self._unknown_strong and (missing := sorted(set(self.graph_kinds) - set(kinds))):
            raise ValueError(
                f"actions: {self._unknown_strong[0]!r} builds the graph but makes nothing known; "
                f"name the other graph kinds too: {', '.join(missing)}"
            )

    @property
    def _unknown_strong(self) -> list[str]:
        """Graph kinds that do not make an item known."""
        return [a.kind for a in self.actions if a.kind in self.graph_kinds and not a.known]

    @property
    def marked_kinds(self) -> tuple[str, ...]:
        """Kinds of which the state keeps each user's latest event on each item.

        The history has the latest event of the graph kinds already; they are kept only where not
        all of them make an item known.
        """
        every = bool(self._unknown_strong)
        return tuple(a.kind for a in self.actions if every or a.kind not in self.graph_kinds)

    def kinds_of_sign(self, sign: Sign) -> frozenset[str]:
        """Kinds of the actions with a sign."""
        return frozenset(action.kind for action in self.actions if action.sign == sign)

    def makes_known(self, kinds: Collection[str], strong_time: int) -> bool:
        """Whether a user knows an item.

        kinds: of which there are marks of the item; strong_time: of its latest graph-making event,
        negative without one. Such an event counts where no mark says of which kind it was.
        """
        if any(action.known for action in self.actions if action.kind in kinds):
            return True
        return strong_time >= 0 and self._graph.isdisjoint(kinds)

    @property
    def _graph(self) -> frozenset[str]:
        return frozenset(self.graph_kinds)

    @property
    def demand_ms(self) -> int:
        """Length of a bucket of live popularity: buckets of the window are made of whole ones."""
        return math.gcd(self.demand_bucket_ms, self.window.bucket_ms)

    @property
    def taken_ms(self) -> int:
        """Time after an impression within which it is taken, ms."""
        return round(self.taken_hours * HOUR_MS)

    @property
    def demand_buckets(self) -> int:
        """Buckets of live popularity in the window."""
        return self.window.buckets * self.window.bucket_ms // self.demand_ms

    def first_demand(self, watermark: int) -> int:
        """First bucket of live popularity inside the window that ends at a watermark."""
        return self.first_demand_of(max(self.window.first_live(watermark), 0))

    def first_demand_of(self, bucket: int) -> int:
        """First bucket of live popularity inside a bucket of the window."""
        return bucket * (self.window.bucket_ms // self.demand_ms)

    def meaning(self) -> dict[str, Any]:
        """The settings that decide what the state is, by name, as JSON values."""
        found: dict[str, Any] = {
            "window": asdict(self.window),
            "graph_kinds": sorted(self.graph_kinds),
            "history_cap": self.history_cap,
        }
        # Named only where it is not the default: states that are older than it stay what they are.
        if self.demand_bucket_ms != HOUR_MS:
            found["demand_bucket_ms"] = self.demand_bucket_ms
        return found

    def fingerprint(self) -> str:
        """Hash of the settings that decide what the state is, 16 hex digits."""
        return _fingerprint(self)


@lru_cache(maxsize=16)
def _fingerprint(settings: StateSettings) -> str:
    """Every commit asks for it."""
    meaning = json.dumps(settings.meaning(), sort_keys=True)
    return hashlib.sha256(meaning.encode()).hexdigest()[:16]
