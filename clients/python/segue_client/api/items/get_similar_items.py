from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem_body import ProblemBody
from ...models.similar import Similar
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    type_: int | str,
    id: int | str,
    types: list[int | str] | Unset = UNSET,
    k: int | Unset = 10,
    titles: bool | Unset = False,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_type_: int | str
    json_type_ = type_
    params["type"] = json_type_

    json_id: int | str
    json_id = id
    params["id"] = json_id

    json_types: list[int | str] | Unset = UNSET
    if not isinstance(types, Unset):
        json_types = []
        for types_item_data in types:
            types_item: int | str
            types_item = types_item_data
            json_types.append(types_item)

    params["types"] = json_types

    params["k"] = k

    params["titles"] = titles

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v1/similar",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ProblemBody | Similar | None:
    if response.status_code == 200:
        response_200 = Similar.from_dict(response.json())

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
) -> Response[ProblemBody | Similar]:
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
    types: list[int | str] | Unset = UNSET,
    k: int | Unset = 10,
    titles: bool | Unset = False,
) -> Response[ProblemBody | Similar]:
    """Similar items

     By cosine in the space of the two towers; popularity has no effect.

    Args:
        type_ (int | str):
        id (int | str):
        types (list[int | str] | Unset): Item types; none: all.
        k (int | Unset): Items in the answer. Default: 10.
        titles (bool | Unset):  Default: False.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | Similar]
    """

    kwargs = _get_kwargs(
        type_=type_,
        id=id,
        types=types,
        k=k,
        titles=titles,
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
    types: list[int | str] | Unset = UNSET,
    k: int | Unset = 10,
    titles: bool | Unset = False,
) -> ProblemBody | Similar | None:
    """Similar items

     By cosine in the space of the two towers; popularity has no effect.

    Args:
        type_ (int | str):
        id (int | str):
        types (list[int | str] | Unset): Item types; none: all.
        k (int | Unset): Items in the answer. Default: 10.
        titles (bool | Unset):  Default: False.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | Similar
    """

    return sync_detailed(
        client=client,
        type_=type_,
        id=id,
        types=types,
        k=k,
        titles=titles,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    types: list[int | str] | Unset = UNSET,
    k: int | Unset = 10,
    titles: bool | Unset = False,
) -> Response[ProblemBody | Similar]:
    """Similar items

     By cosine in the space of the two towers; popularity has no effect.

    Args:
        type_ (int | str):
        id (int | str):
        types (list[int | str] | Unset): Item types; none: all.
        k (int | Unset): Items in the answer. Default: 10.
        titles (bool | Unset):  Default: False.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | Similar]
    """

    kwargs = _get_kwargs(
        type_=type_,
        id=id,
        types=types,
        k=k,
        titles=titles,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    type_: int | str,
    id: int | str,
    types: list[int | str] | Unset = UNSET,
    k: int | Unset = 10,
    titles: bool | Unset = False,
) -> ProblemBody | Similar | None:
    """Similar items

     By cosine in the space of the two towers; popularity has no effect.

    Args:
        type_ (int | str):
        id (int | str):
        types (list[int | str] | Unset): Item types; none: all.
        k (int | Unset): Items in the answer. Default: 10.
        titles (bool | Unset):  Default: False.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | Similar
    """

    return (
        await asyncio_detailed(
            client=client,
            type_=type_,
            id=id,
            types=types,
            k=k,
            titles=titles,
        )
    ).parsed
