from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.item_edges import ItemEdges
from ...models.problem_body import ProblemBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    type_: int | str,
    id: int | str,
    k: int | Unset = 8,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_type_: int | str
    json_type_ = type_
    params["type"] = json_type_

    json_id: int | str
    json_id = id
    params["id"] = json_id

    params["k"] = k

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v1/item/edges",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ItemEdges | ProblemBody | None:
    if response.status_code == 200:
        response_200 = ItemEdges.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = ProblemBody.from_dict(response.json())

        return response_400

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
) -> Response[ItemEdges | ProblemBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    k: int | Unset = 8,
) -> Response[ItemEdges | ProblemBody]:
    """Edges of an item over time

     Users of both items by bucket of the window.

    A user counts in the bucket of the earlier of the user's latest events on the two items.
    When that bucket leaves the window, these users no longer count.

    Args:
        type_ (int | str):
        id (int | str):
        k (int | Unset): Neighbours, the strongest first. Default: 8.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ItemEdges | ProblemBody]
    """

    kwargs = _get_kwargs(
        type_=type_,
        id=id,
        k=k,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    k: int | Unset = 8,
) -> ItemEdges | ProblemBody | None:
    """Edges of an item over time

     Users of both items by bucket of the window.

    A user counts in the bucket of the earlier of the user's latest events on the two items.
    When that bucket leaves the window, these users no longer count.

    Args:
        type_ (int | str):
        id (int | str):
        k (int | Unset): Neighbours, the strongest first. Default: 8.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ItemEdges | ProblemBody
    """

    return sync_detailed(
        client=client,
        type_=type_,
        id=id,
        k=k,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    k: int | Unset = 8,
) -> Response[ItemEdges | ProblemBody]:
    """Edges of an item over time

     Users of both items by bucket of the window.

    A user counts in the bucket of the earlier of the user's latest events on the two items.
    When that bucket leaves the window, these users no longer count.

    Args:
        type_ (int | str):
        id (int | str):
        k (int | Unset): Neighbours, the strongest first. Default: 8.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ItemEdges | ProblemBody]
    """

    kwargs = _get_kwargs(
        type_=type_,
        id=id,
        k=k,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    k: int | Unset = 8,
) -> ItemEdges | ProblemBody | None:
    """Edges of an item over time

     Users of both items by bucket of the window.

    A user counts in the bucket of the earlier of the user's latest events on the two items.
    When that bucket leaves the window, these users no longer count.

    Args:
        type_ (int | str):
        id (int | str):
        k (int | Unset): Neighbours, the strongest first. Default: 8.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ItemEdges | ProblemBody
    """

    return (
        await asyncio_detailed(
            client=client,
            type_=type_,
            id=id,
            k=k,
        )
    ).parsed
