"""Bodies of requests and responses about policies, as OpenAPI shows them."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from agents.policy_text import LONGEST
from console.wire import Closed, Id

__all__ = [
    "PolicyApply", "PolicyChecked", "PolicyOfList", "PolicyPreview", "PolicyText", "PolicyUndo",
    "PolicyWords", "PolicyWritten", "Previewed",
]  # fmt: skip


class PolicyText(Closed):
    """A policy in TOML, as in a file of `segue policy`."""

    text: Annotated[str, StringConstraints(max_length=LONGEST)]


class PolicyPreview(PolicyText):
    """A policy, and the users whose lists are compared."""

    users: list[Id] = Field(default=[], max_length=50)
    random: int = Field(default=0, ge=0, le=500, description="Further users, drawn by the seed.")
    seed: int = Field(default=0, ge=0, le=2**53 - 1)


class _PolicyChange(Closed):
    after: int = Field(
        ge=0, le=99_999_999,
        description="The newest version that you know, 0 for none; 409 if there is a newer one.",
    )  # fmt: skip
    author: Annotated[str, StringConstraints(max_length=100)] = Field(
        default="", description="Beside the token's name."
    )
    comment: Annotated[str, StringConstraints(max_length=1_000)] = ""


class PolicyApply(PolicyText, _PolicyChange):
    """A policy to put in force."""


class PolicyUndo(_PolicyChange):
    """A list whose policy goes back to the version before."""

    list_name: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(alias="list")


class PolicyFault(BaseModel):
    """Why workers would refuse a policy."""

    where: str = Field(description="For example boost[0].when; empty if the text is not TOML.")
    what: str
    line: int = Field(description="In the text, from 1; 0: not known.")
    column: int


class PolicyChecked(BaseModel):
    """The result of a check of a policy."""

    good: bool
    list_name: str | None = Field(default=None, alias="list")
    newest: int | None = Field(default=None, description="Newest version of the list; 0: none.")
    difference: list[str] = Field(
        default=[], description="Lines that differ from the version in force, as a unified diff."
    )
    fault: PolicyFault | None = None


class PolicyVersion(BaseModel):
    """A version of a list's policy."""

    version: int
    author: str
    comment: str
    created_at: int
    text: str = Field(description="TOML; empty where this version cannot be read here.")
    in_force: bool
    fault: str | None = Field(description="Why workers refuse it.")


class PolicyOfList(BaseModel):
    """A list and the versions of its policy, the newest first."""

    list_name: str = Field(alias="list", description="* is the policy of all other lists.")
    newest: int = Field(description="0: there is none.")
    in_force: int | None
    versions: list[PolicyVersion]


class PolicyWords(BaseModel):
    """What conditions and policies are made of, for an editor."""

    attributes: dict[str, str] = Field(description="Type by item.NAME, user.NAME, request.NAME.")
    functions: list[str]
    rules: list[str]


class SideBySide(BaseModel):
    """One list of a user before and after."""

    before: list[dict[str, str]]
    after: list[dict[str, str]]


class PreviewOfUser(BaseModel):
    """Lists of a user by name."""

    user_id: str
    lists: dict[str, SideBySide]


class PreviewChange(BaseModel):
    """A figure before and after a policy, and an interval of 95 %, by user, of the difference."""

    before: float
    after: float
    low: float | None = Field(description="null: a single question has no interval.")
    high: float | None


class PreviewEffect(BaseModel):
    """What a policy does to a list's quality, on held-out questions, one of each user.

    The answer is the item that the user took last; the list is made as of just before.
    """

    questions: int
    hr_at_10: PreviewChange = Field(description="Share of the answers in the first ten.")
    coverage: PreviewChange = Field(description="Share of all items in the first ten of a list.")
    diversity: PreviewChange | None = Field(
        description="Mean distance, 1 - cosine, of the pairs of a list; null: no list has a pair."
    )


class PreviewOfList(BaseModel):
    """What a policy does to a list of all users of a preview."""

    short_before: int = Field(description="Lists with fewer items than they may have.")
    short_after: int
    changed: float = Field(description="Share of the items that changed.")
    effect: PreviewEffect | None = Field(
        description="null: no user took an item of the list's types recently."
    )


class Previewed(BaseModel):
    """Lists before and after a policy."""

    users: list[PreviewOfUser]
    lists: dict[str, PreviewOfList]


class PolicyWritten(BaseModel):
    """The version that was written; workers follow within two seconds."""

    list_name: str = Field(alias="list")
    version: int
