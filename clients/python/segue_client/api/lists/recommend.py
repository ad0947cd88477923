from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.list_body import ListBody
from ...models.problem_body import ProblemBody
from ...models.session import Session
from ...models.user_list import UserList
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    body: Session | UserList,
    titles: bool | Unset = False,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    params: dict[str, Any] = {}

    params["titles"] = titles

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/v1/recommendations",
        "params": params,
    }

    if isinstance(body, Session):
        _kwargs["json"] = body.to_dict()
    else:
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ListBody | ProblemBody | None:
    if response.status_code == 200:
        response_200 = ListBody.from_dict(response.json())

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
) -> Response[ListBody | ProblemBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    body: Session | UserList,
    titles: bool | Unset = False,
) -> Response[ListBody | ProblemBody]:
    """A list for a user, or for the items of a session without a user id

     The same lists as by GET. No session is stored. A list of a user takes the right `people`.

    Args:
        titles (bool | Unset):  Default: False.
        body (Session | UserList):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ListBody | ProblemBody]
    """

    kwargs = _get_kwargs(
        body=body,
        titles=titles,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    body: Session | UserList,
    titles: bool | Unset = False,
) -> ListBody | ProblemBody | None:
    """A list for a user, or for the items of a session without a user id

     The same lists as by GET. No session is stored. A list of a user takes the right `people`.

    Args:
        titles (bool | Unset):  Default: False.
        body (Session | UserList):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ListBody | ProblemBody
    """

    return sync_detailed(
        client=client,
        body=body,
        titles=titles,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    body: Session | UserList,
    titles: bool | Unset = False,
) -> Response[ListBody | ProblemBody]:
    """A list for a user, or for the items of a session without a user id

     The same lists as by GET. No session is stored. A list of a user takes the right `people`.

    Args:
        titles (bool | Unset):  Default: False.
        body (Session | UserList):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ListBody | ProblemBody]
    """

    kwargs = _get_kwargs(
        body=body,
        titles=titles,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    body: Session | UserList,
    titles: bool | Unset = False,
) -> ListBody | ProblemBody | None:
    """A list for a user, or for the items of a session without a user id

     The same lists as by GET. No session is stored. A list of a user takes the right `people`.

    Args:
        titles (bool | Unset):  Default: False.
        body (Session | UserList):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ListBody | ProblemBody
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
            titles=titles,
        )
    ).parsed
