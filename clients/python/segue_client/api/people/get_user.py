from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem_body import ProblemBody
from ...models.user_body import UserBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    user: int | str,
    k: int | Unset = 50,
    at_least: list[str] | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_user: int | str
    json_user = user
    params["user"] = json_user

    params["k"] = k

    json_at_least: list[str] | Unset = UNSET
    if not isinstance(at_least, Unset):
        json_at_least = at_least

    params["at_least"] = json_at_least

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v1/user",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ProblemBody | UserBody | None:
    if response.status_code == 200:
        response_200 = UserBody.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = ProblemBody.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = ProblemBody.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = ProblemBody.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = ProblemBody.from_dict(response.json())

        return response_404

    if response.status_code == 413:
        response_413 = ProblemBody.from_dict(response.json())

        return response_413

    if response.status_code == 422:
        response_422 = ProblemBody.from_dict(response.json())

        return response_422

    if response.status_code == 429:
        response_429 = ProblemBody.from_dict(response.json())

        return response_429

    if response.status_code == 500:
        response_500 = ProblemBody.from_dict(response.json())

        return response_500

    if response.status_code == 503:
        response_503 = ProblemBody.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[ProblemBody | UserBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    user: int | str,
    k: int | Unset = 50,
    at_least: list[str] | Unset = UNSET,
) -> Response[ProblemBody | UserBody]:
    """What is known of a user

     Attributes, and the history inside the window, newest first; empty for unknown users.

    Args:
        user (int | str): At most 256 bytes.
        k (int | Unset): Items in the answer. Default: 50.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | UserBody]
    """

    kwargs = _get_kwargs(
        user=user,
        k=k,
        at_least=at_least,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    user: int | str,
    k: int | Unset = 50,
    at_least: list[str] | Unset = UNSET,
) -> ProblemBody | UserBody | None:
    """What is known of a user

     Attributes, and the history inside the window, newest first; empty for unknown users.

    Args:
        user (int | str): At most 256 bytes.
        k (int | Unset): Items in the answer. Default: 50.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | UserBody
    """

    return sync_detailed(
        client=client,
        user=user,
        k=k,
        at_least=at_least,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    user: int | str,
    k: int | Unset = 50,
    at_least: list[str] | Unset = UNSET,
) -> Response[ProblemBody | UserBody]:
    """What is known of a user

     Attributes, and the history inside the window, newest first; empty for unknown users.

    Args:
        user (int | str): At most 256 bytes.
        k (int | Unset): Items in the answer. Default: 50.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | UserBody]
    """

    kwargs = _get_kwargs(
        user=user,
        k=k,
        at_least=at_least,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    user: int | str,
    k: int | Unset = 50,
    at_least: list[str] | Unset = UNSET,
) -> ProblemBody | UserBody | None:
    """What is known of a user

     Attributes, and the history inside the window, newest first; empty for unknown users.

    Args:
        user (int | str): At most 256 bytes.
        k (int | Unset): Items in the answer. Default: 50.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | UserBody
    """

    return (
        await asyncio_detailed(
            client=client,
            user=user,
            k=k,
            at_least=at_least,
        )
    ).parsed
