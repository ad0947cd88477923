"""Experiments: which users are in which arm, and from which channel of bundles an arm is served.

A user has a place in [0, 1), a hash of the salt and the user's id; arms are intervals of it. The
first arm, the control, has what the others leave. The second lies at the upper end, the third at
the lower, the fourth below the second, and so on by turns; a canary's interval is kept for it at
its greatest share, and what it does not have yet is the control's. Hence

- a canary that grows takes users from the control, and moves no other users;
- so does an arm that is added at the end of the list, and the share of each of the last two arms.

(With three or more arms in addition to the control this is impossible for all: the users of an arm
would depend only on its own share, and two such sets already fill the interval.)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import xxhash

from streams import DEFAULT_CHANNEL, NAME_PATTERN

__all__ = ["MAX_ARMS", "ArmSettings", "Arms", "CanarySettings", "ExperimentSettings", "user_place"]

#: Arms are labels of metrics and rows of tables.
MAX_ARMS = 16


@dataclass(frozen=True, kw_only=True)
class CanarySettings:
    """An arm whose share grows automatically unless measurements are against it.

    first:        initial share; 0 makes the arm fixed.
    step:         share that is added per step, up to the arm's `share`.
    every_s:      minimum time between two steps, in seconds.
    margin:       tolerated loss, as a fraction of the control's HR@10: the arm grows when a greater
                  loss is ruled out.
    questions:    minimum number of prequential queries of the arm for a decision.
    publications: number of last publications of the channel, all of which the gate must have
                  accepted.
    look_s:       time between two decisions, in seconds. New measurements exist only after trainers
                  store them (`trainer.checkpoint_every_s`).
    """

    first: float = 0.0
    step: float = 0.05
    every_s: float = 3_600.0
    margin: float = 0.05
    questions: int = 500
    publications: int = 3
    look_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse values that are not shares."""
        if not 0 <= self.first < 1 or not 0 < self.step <= 1:
            raise ValueError(
                f"expected `first` in [0, 1) and `step` in (0, 1], got {self.first} and {self.step}"
            )
        if min(self.every_s, self.margin, self.questions) < 0 or self.publications < 1:
            raise ValueError(
                "expected `every_s`, `margin` and `questions` of 0 or more, `publications` of 1 or"
                f" more, got {self.every_s}, {self.margin}, {self.questions}, {self.publications}"
            )
        if self.look_s <= 0:
            raise ValueError(f"expected `look_s` of more than 0, got {self.look_s}")


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """A part of the users.

    name:    name in records, tables and metrics: up to 32 of a-z, 0-9, _ and -.
    share:   share of all users; for a canary, the maximum.
    channel: channel whose bundles serve it; a trainer publishes on one (`trainer.channel`).
    """

    name: str
    share: float
    channel: str = DEFAULT_CHANNEL
    canary: CanarySettings = field(default_factory=CanarySettings)

    def __post_init__(self) -> None:
        """Refuse names that are no labels, and shares that are none."""
        for what, name in (("name", self.name), ("channel", self.channel)):
            if not re.fullmatch(NAME_PATTERN, name):
                raise ValueError(f"expected a {what} of an arm like {NAME_PATTERN}, got {name!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"expected a share of arm {self.name} in [0, 1], got {self.share}")
        if self.canary.first > self.share:
            raise ValueError(
                f"expected canary.first of arm {self.name} up to its share {self.share},"
                f" got {self.canary.first}"
            )

    @property
    def is_canary(self) -> bool:
        """Whether its share is decided by what it is measured at."""
        return self.canary.first > 0


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """Arms of users, by hash of user and salt. Without arms all users have the default channel.

    salt: another salt assigns the users to arms independently of their earlier arms.
    arms: the first is the control, with which the others are compared; shares add up to 1.
    """

    salt: str = "segue"
    arms: tuple[ArmSettings, ...] = ()

    def __post_init__(self) -> None:
        """Refuse arms that do not fit together."""
        if len(self.salt) > 64:
            raise ValueError(f"expected a salt of up to 64 characters, got {len(self.salt)}")
        if not self.arms:
            return
        if len(self.arms) > MAX_ARMS:
            raise ValueError(f"expected up to {MAX_ARMS} arms, got {len(self.arms)}")
        names = [arm.name for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected names of arms once each, got {', '.join(twice)} again")
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1) > 1e-6:
            shares = " + ".join(f"{arm.name} {arm.share:g}" for arm in self.arms)
            raise ValueError(f"expected shares of arms that add up to 1, got {shares} = {total:g}")
        if self.arms[0].is_canary:
            raise ValueError(f"the first arm, {names[0]}, is the control: it cannot be a canary")

    @property
    def control(self) -> ArmSettings:
        """The arm with which the others are compared. Raises IndexError without arms."""
        return self.arms[0]

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels in use, the default one first."""
        return tuple(dict.fromkeys([DEFAULT_CHANNEL, *(arm.channel for arm in self.arms)]))

    def on_channel(self, channel: str) -> frozenset[str] | None:
        """Names of the arms that a channel serves; None without arms."""
        if not self.arms:
            return None
        return frozenset(arm.name for arm in self.arms if arm.channel == channel)


def user_place(salt: str, user_id: str) -> float:
    """Return a user's place in [0, 1): the same in every process and at all times.

    >>> round(user_place("segue", "ann"), 6), round(user_place("other", "ann"), 6)
    (0.510774, 0.930095)
    """
    return (xxhash.xxh3_64_intdigest(f"{salt}\\0{user_id}".encode()) >> 11) / 2**53


class Arms:
    """Tells a user's arm, with the canaries' shares that are in force.

    A canary without an announced share has no users.
    """

    def __init__(self, settings: ExperimentSettings) -> None:
        """Divide users as the settings say."""
        self.settings = settings
        self._shares: dict[str, float] = {}
        self._lay()

    def __bool__(self) -> bool:
        """Whether users are divided at all."""
        return bool(self.settings.arms)

    def share(self, name: str) -> float:
        """Share of all users that an arm has now."""
        return dict(self._now())[name]

    def take(self, shares: Mapping[str, float]) -> None:
        """Have canaries' shares by name; those that are not named have none."""
        self._shares = dict(shares)
        self._lay()

    def of(self, user_id: str) -> str | None:
        """Return the name of a user's arm; None without an experiment."""
        if not self.settings.arms:
            return None
        place = user_place(self.settings.salt, user_id)
        for name, low, high in self._intervals:
            if low <= place < high:
                return name
        return self.settings.control.name

    def channel_of(self, arm: str | None) -> str:
        """Return the channel that serves an arm."""
        return self._channels.get(arm or "", DEFAULT_CHANNEL)

    def _lay(self) -> None:
        low, high = 0.0, 1.0
        self._intervals: list[tuple[str, float, float]] = []
        self._channels = {arm.name: arm.channel for arm in self.settings.arms}
        for number, arm in enumerate(self.settings.arms[1:]):
            share = min(self._shares.get(arm.name, 0.0), arm.share) if arm.is_canary else arm.share
            if number % 2:
                self._intervals.append((arm.name, low, low + share))
                low += arm.share
            else:
                self._intervals.append((arm.name, high - share, high))
                high -= arm.share

    def _now(self) -> Iterable[tuple[str, float]]:
        others = [(name, high - low) for name, low, high in self._intervals]
        if self.settings.arms:
            yield self.settings.control.name, 1 - sum(share for _, share in others)
        yield from others
