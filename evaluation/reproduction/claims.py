"""What the papers' tables say, as comparisons that a data set can agree with or not.

Figures of paper B, on the platform's own data: its audiobooks are our `minor` type, its podcasts
our `major` one. A data set with a single type has no minor type; it answers on that one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["CLAIMS", "PAPER_FIGURES", "Claim", "Verdict", "judge"]

Role = Literal["minor", "major"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`better` is above `worse` on a type and segment.

    paper:  their two figures, in that order, or None where the paper gives words only.
    at_least: ratio that has to be reached for it to hold; 1 asks for the direction alone.
    metric: hr_at_10 or coverage.
    """

    says: str
    better: str
    worse: str
    role: Role = "minor"
    segment: str = "all"
    paper: tuple[float, float] | None = None
    at_least: float = 1.0
    metric: str = "hr_at_10"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a data set says to a claim.

    figures: ours of the better and the worse row. said: `holds`; `does not hold`; `as noise` where
    the 95 % intervals of the two rows, taken as independent, leave the sign open; coverage has no
    such test.
    """

    claim: Claim
    item_type: str
    figures: tuple[float, float]
    said: str

    @property
    def ratio(self) -> float:
        """Better over worse."""
        return self.figures[0] / self.figures[1] if self.figures[1] else float("inf")


WARM, COLD = "warm_users", "cold_users"

PAPER_FIGURES: Mapping[tuple[str, str, str], float] = {
    ("popularity", "minor", WARM): 0.150,
    ("llm-knn", "minor", WARM): 0.164,
    ("hgnn", "minor", WARM): 0.258,
    ("hgnn-users", "minor", WARM): 0.238,
    ("2t", "minor", WARM): 0.231,
    ("2t-hgnn", "minor", WARM): 0.353,
    ("popularity", "minor", COLD): 0.161,
    ("hgnn-users", "minor", COLD): 0.174,
    ("2t", "minor", COLD): 0.135,
    ("2t-hgnn", "minor", COLD): 0.200,
    ("popularity", "major", "all"): 0.059,
    ("2t", "major", "all"): 0.114,
    ("2t-hgnn", "major", "all"): 0.123,
    ("no-balance", "minor", WARM): 0.332,
    ("no-weak", "minor", WARM): 0.267,
    ("no-major", "minor", WARM): 0.333,
    ("no-minor", "minor", WARM): 0.312,
    ("minor-only", "minor", WARM): 0.329,
    ("major-only", "minor", WARM): 0.294,
}
"""HR@10 by row, role of the item type and segment."""


def _full(says: str, worse: str, figure: float) -> Claim:
    return Claim(
        says=says, better="2t-hgnn", worse=worse, segment=WARM, paper=(0.353, figure)
    )  # fmt: skip


CLAIMS: Sequence[Claim] = (
    Claim(says="mean HGNN vectors beat mean text vectors", better="hgnn", worse="llm-knn",
          segment=WARM, paper=(0.258, 0.164)),
    Claim(says="text vectors beat popularity", better="llm-knn", worse="popularity",
          segment=WARM, paper=(0.164, 0.150)),
    Claim(says="users as nodes are worse than mean vectors", better="hgnn", worse="hgnn-users",
          segment=WARM, paper=(0.258, 0.238)),
    Claim(says="HGNN vectors alone beat the two-tower without them", better="hgnn", worse="2t",
          segment=WARM, paper=(0.258, 0.231)),
    _full("2T-HGNN beats 2T, warm users", "2t", 0.231),
    _full("2T-HGNN beats HGNN, warm users", "hgnn", 0.258),
    _full("2T-HGNN beats popularity, warm users", "popularity", 0.150),
    Claim(says="2T-HGNN beats 2T, cold users", better="2t-hgnn", worse="2t", segment=COLD,
          paper=(0.200, 0.135)),
    Claim(says="2T-HGNN beats popularity, cold users", better="2t-hgnn", worse="popularity",
          segment=COLD, paper=(0.200, 0.161)),
    Claim(says="2T-HGNN beats users as nodes, cold users", better="2t-hgnn", worse="hgnn-users",
          segment=COLD, paper=(0.200, 0.174)),
    Claim(says="without the HGNN, 2T is below popularity for cold users", better="popularity",
          worse="2t", segment=COLD, paper=(0.161, 0.135)),
    Claim(says="2T-HGNN beats 2T on the larger type", better="2t-hgnn", worse="2t", role="major",
          paper=(0.123, 0.114)),
    Claim(says="2T beats popularity on the larger type", better="2t", worse="popularity",
          role="major", paper=(0.114, 0.059)),
    Claim(says="2T-HGNN covers more of the larger type than 2T", better="2t-hgnn", worse="2t",
          role="major", paper=(0.206, 0.114), metric="coverage"),
    Claim(says="2T-HGNN beats 2T in the long tail (tiers 3 to 5: +118 %)", better="2t-hgnn",
          worse="2t", segment="tail"),
    _full("the balanced sampler helps", "no-balance", 0.332),
    _full("weak signals help", "no-weak", 0.267),
    _full("edges of the larger type help", "no-major", 0.333),
    _full("edges of the smaller type help", "no-minor", 0.312),
    _full("one type's edges are not enough: smaller", "minor-only", 0.329),
    _full("one type's edges are not enough: larger", "major-only", 0.294),
)  # fmt: skip


def unified(types: Sequence[str]) -> list[Claim]:
    """Return paper A's first claim, once for each type: the unified model is no worse."""
    roles: tuple[Role, ...] = ("major", "minor")
    return [
        Claim(says=f"unified beats {name} alone", better="2t-hgnn", worse=f"only-{name}", role=role)
        for role, name in zip(roles, types, strict=False)
    ]


def judge(claim: Claim, report: Mapping[str, Any]) -> Verdict | None:
    """Compare two rows of a world; None where one of them, or the segment, is missing."""
    types: list[str] = report["types"]
    if claim.role == "minor" and len(types) == 1 and claim.segment == COLD:
        return None  # a user without a past on the only type is unknown altogether
    item_type = types[0] if claim.role == "major" or len(types) == 1 else types[1]
    rows = {row["row"]: row["figures"] for row in report["rows"]}
    key = f"{item_type}/{claim.segment}"
    pair = [rows.get(name, {}).get(key) for name in (claim.better, claim.worse)]
    if None in pair:
        return None
    figures = (float(pair[0][claim.metric]), float(pair[1][claim.metric]))
    wanted = figures[0] - claim.at_least * figures[1]
    if claim.metric == "hr_at_10":
        # Half of a 95 % interval is 1.96 standard errors.
        errors = [(one["ci"][1] - one["ci"][0]) / 2 for one in pair]
        open_ = abs(wanted) < (errors[0] ** 2 + errors[1] ** 2) ** 0.5
    else:
        open_ = False
    said = "as noise" if open_ else "holds" if wanted > 0 else "does not hold"
    return Verdict(claim=claim, item_type=item_type, figures=figures, said=said)
