"""Policies of lists over HTTP: see, check, preview, put in force, undo."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from agents.policy_versions import PolicyConflict
from console.answers import answer, problems_of
from console.guard import may_read_policies, may_write_policies
from console.parameters import People, ThePolicies, TheReplica, check_ready, check_user
from console.policies import BadPolicy, Change, NoPolicyTopic, PreviewOf
from console.policy_wire import (
    PolicyApply,
    PolicyChecked,
    PolicyOfList,
    PolicyPreview,
    PolicyText,
    PolicyUndo,
    PolicyWords,
    PolicyWritten,
    Previewed,
)
from console.problems import Problem
from console.settings import TokenSettings

__all__ = ["BODY_BYTES", "PATHS", "router"]

#: Paths whose bodies hold a policy, and bytes of these at most: of its longest text, escaped.
PATHS = ("/v1/policies", "/v1/policies/check", "/v1/policies/preview")
BODY_BYTES = 1 << 20

router = APIRouter(prefix="/v1", tags=["policies"])
Reading = Annotated[TokenSettings, Depends(may_read_policies)]
Changing = Annotated[TokenSettings, Depends(may_write_policies)]


@router.get(
    "/policies", operation_id="list_policies", response_model=list[PolicyOfList],
    responses=problems_of(401, 403, 409, 503), summary="Policies of lists and their versions",
)  # fmt: skip
async def policies(editing: ThePolicies, _: Reading) -> Response:
    """Of every list that has a policy or is in the settings; `*` applies to all others."""
    try:
        return answer(await editing.lists())
    except NoPolicyTopic as error:
        raise _no_topic(error) from error


@router.get(
    "/policies/words", operation_id="get_policy_words", response_model=PolicyWords,
    responses=problems_of(401, 403, 503), summary="What a policy can name",
)  # fmt: skip
async def words(editing: ThePolicies, _: Reading) -> Response:
    """Attributes of items and of recent users, with their types; functions; rules."""
    return answer(await editing.words())


@router.post(
    "/policies/check", operation_id="check_policy", response_model=PolicyChecked,
    responses=problems_of(401, 403, 503), summary="Whether workers would accept a policy",
)  # fmt: skip
async def check(editing: ThePolicies, _: Reading, body: PolicyText) -> Response:
    """Checked by the workers' own parser and types. Nothing is written."""
    try:
        policy = await editing.check(body.text)
    except BadPolicy as error:
        fault = error.fault
        place = {"line": fault.line, "column": fault.column}
        return answer({"good": False, "fault": {"where": fault.where, "what": fault.what, **place}})
    newest, lines = editing.difference(policy)
    return answer(
        {"good": True, "list": policy.list_name, "newest": newest, "difference": lines}
    )  # fmt: skip


@router.post(
    "/policies/preview", operation_id="preview_policy", response_model=Previewed,
    responses=problems_of(401, 403, 404, 503), summary="Lists before and after a policy",
)  # fmt: skip
async def preview(
    editing: ThePolicies, replica: TheReplica, _: Reading, by: People, body: PolicyPreview
) -> Response:
    """From the live state, as of now. Nothing is written. It needs the right `people` too.

    The effect on quality is measured on held-out questions: the item that each user took last.
    """
    for user in body.users:
        check_user(user)
    check_ready(replica)
    of = PreviewOf(users=body.users, random=body.random, seed=body.seed)
    try:
        return answer(await editing.preview(body.text, of))
    except BadPolicy as error:
        raise _refused(error) from error


@router.post(
    "/policies", operation_id="apply_policy", status_code=202, response_model=PolicyWritten,
    responses=problems_of(401, 403, 409, 503), summary="Put a policy in force",
)  # fmt: skip
async def apply(editing: ThePolicies, by: Changing, body: PolicyApply) -> Response:
    """As the next version of its list. 409, and no change, if another version was written since.

    Workers and consoles follow it within two seconds.
    """
    change = _change(body, by)
    try:
        said = await editing.apply(body.text, change)
    except BadPolicy as error:
        raise _refused(error) from error
    except (PolicyConflict, NoPolicyTopic) as error:
        raise Problem(409, str(error)) from error
    return answer({"list": said.list, "version": said.version}, status=202)


@router.post(
    "/policies/undo", operation_id="undo_policy", status_code=202, response_model=PolicyWritten,
    responses=problems_of(401, 403, 404, 409, 503), summary="Go back to the policy before",
)  # fmt: skip
async def undo(editing: ThePolicies, by: Changing, body: PolicyUndo) -> Response:
    """As a new version with the rules of the one before. Without one, the list has no policy."""
    change = _change(body, by)
    try:
        said = await editing.undo(body.list_name, change)
    except BadPolicy as error:
        raise Problem(404, error.fault.what) from error
    except (PolicyConflict, NoPolicyTopic) as error:
        raise Problem(409, str(error)) from error
    return answer({"list": said.list, "version": said.version}, status=202)


def _change(body: PolicyApply | PolicyUndo, by: TokenSettings) -> Change:
    # The name of the token is verified; the author's name is not.
    author = f"{body.author} ({by.name})" if body.author else by.name
    return Change(after=body.after, author=author[:256], comment=body.comment)


def _refused(error: BadPolicy) -> Problem:
    fault = error.fault
    at = f"line {fault.line}, column {fault.column}: " if fault.line else ""
    errors = [{"where": f"body.text.{fault.where}".rstrip("."), "what": f"{at}{fault.what}"}]
    return Problem(422, "workers would refuse this policy", errors=errors)


def _no_topic(error: NoPolicyTopic) -> Problem:
    return Problem(409, str(error))
