"""What must be true of a canary's life: pure functions over shares, answers and examples."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.experiments.arms import Arms, ArmSettings, ExperimentSettings
from streams import ArmShare, Recommendation

__all__ = ["Placed", "Placing", "fallen", "placing", "served_differences", "share_differences"]

LIMIT = 10


class Placed(NamedTuple):
    """A user was taken to be in an arm at some time between `since` and `until`, ms UTC."""

    user_id: str
    arm: str | None
    since: int
    until: int


@dataclass
class Placing:
    """What users' arms come to.

    decided: those whose share in force left no doubt; by_arm: of these, how many in each arm.
    differences: those who were in another arm than they had to be.
    """

    decided: int = 0
    by_arm: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)


def share_differences(said: Sequence[ArmShare], arm: ArmSettings) -> list[str]:
    """What differs in a canary's announcements from steps up to a fall that is final.

    A restart of anything in between must show nowhere: neither a step back nor a new start.
    """
    found = []
    shares = [one.share for one in said]
    steps = [min(arm.share, arm.canary.first + n * arm.canary.step) for n in range(len(said) - 1)]
    if any(abs(a - b) > 1e-6 for a, b in zip(shares, [*steps, 0.0], strict=False)) or not said:
        found.append(f"expected shares {[*steps, 0.0]}, got {shares}")
    states = [one.state for one in said]
    if states != ["growing"] * (len(said) - 1) + ["stopped"]:
        found.append(f"expected a growing canary that is stopped at the end, got {states}")
    found += [
        f"expected one {name}, got {sorted(values)}"
        for name in ("started_at", "after_generation")
        if len(values := {getattr(one, name) for one in said}) > 1
    ]
    if said and not any("worse than the control" in reason for reason in said[-1].reasons):
        found.append(f"expected a fall because it is worse, got {said[-1].reasons}")
    return found


def placing(
    experiment: ExperimentSettings,
    canary: str,
    shares: Sequence[tuple[int, float]],
    placed: Iterable[Placed],
) -> Placing:
    """Hold users' arms against the shares that were in force.

    shares: (since, share) of the canary, ms, ascending; it had nobody before the first.
    """
    found, known = Placing(), {}
    for one in placed:
        in_force = [
            share
            for (since, share), (until, _) in zip(
                [(0, 0.0), *shares], [*shares, (2**63, 0.0)], strict=True
            )
            if since <= one.until and until >= one.since
        ]
        if one.user_id not in known:
            known[one.user_id] = {}
        mine = known[one.user_id]
        wanted = {_arm(experiment, canary, share, one.user_id, mine) for share in in_force}
        if one.arm not in wanted:
            found.differences.append(
                f"{one.user_id} was in arm {one.arm} at {one.since}, not in {sorted(wanted)}"
            )
        elif len(wanted) == 1:
            found.decided += 1
            arm = str(one.arm)
            found.by_arm[arm] = found.by_arm.get(arm, 0) + 1
    del found.differences[LIMIT:]
    return found


def _arm(
    experiment: ExperimentSettings,
    canary: str,
    share: float,
    user_id: str,
    known: dict[float, str],
) -> str:
    if share not in known:
        arms = Arms(experiment)
        arms.take({canary: share})
        known[share] = str(arms.of(user_id))
    return known[share]


def served_differences(
    answers: Iterable[Recommendation],
    channels: Mapping[str, str],
    announced: Mapping[str, Collection[int]],
) -> list[str]:
    """Answers that were made by a bundle of another channel than their arm's.

    channels: arm -> channel; announced: channel -> numbers of its bundles, no two of which share
    one.
    """
    return [
        f"{one.user_id} in arm {one.arm} got generation {one.generation}, which is not of channel"
        f" {channels.get(one.arm or '')}"
        for one in answers
        if one.generation not in announced.get(channels.get(one.arm or "", ""), ())
    ][:LIMIT]


def fallen(answers: Iterable[Recommendation], canary: str, at: int) -> int:
    """Return for how long after its fall at `at`, ms, a canary's users got its lists."""
    return max((one.created_at - at for one in answers if one.arm == canary), default=0)
