from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem_body import ProblemBody
from ...models.receipt_body import ReceiptBody
from ...types import UNSET, Response


def _get_kwargs(
    *,
    topic: str,
    partition: int,
    offset: int,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["topic"] = topic

    params["partition"] = partition

    params["offset"] = offset

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v1/receipt",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> ProblemBody | ReceiptBody | None:
    if response.status_code == 200:
        response_200 = ReceiptBody.from_dict(response.json())

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
) -> Response[ProblemBody | ReceiptBody]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    topic: str,
    partition: int,
    offset: int,
) -> Response[ProblemBody | ReceiptBody]:
    """The receipt of an erasure

     By the place of the erasure's record on the topic of events; only the newest are known.

    Args:
        topic (str):
        partition (int):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | ReceiptBody]
    """

    kwargs = _get_kwargs(
        topic=topic,
        partition=partition,
        offset=offset,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    topic: str,
    partition: int,
    offset: int,
) -> ProblemBody | ReceiptBody | None:
    """The receipt of an erasure

     By the place of the erasure's record on the topic of events; only the newest are known.

    Args:
        topic (str):
        partition (int):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | ReceiptBody
    """

    return sync_detailed(
        client=client,
        topic=topic,
        partition=partition,
        offset=offset,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    topic: str,
    partition: int,
    offset: int,
) -> Response[ProblemBody | ReceiptBody]:
    """The receipt of an erasure

     By the place of the erasure's record on the topic of events; only the newest are known.

    Args:
        topic (str):
        partition (int):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ProblemBody | ReceiptBody]
    """

    kwargs = _get_kwargs(
        topic=topic,
        partition=partition,
        offset=offset,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    topic: str,
    partition: int,
    offset: int,
) -> ProblemBody | ReceiptBody | None:
    """The receipt of an erasure

     By the place of the erasure's record on the topic of events; only the newest are known.

    Args:
        topic (str):
        partition (int):
        offset (int):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ProblemBody | ReceiptBody
    """

    return (
        await asyncio_detailed(
            client=client,
            topic=topic,
            partition=partition,
            offset=offset,
        )
    ).parsed
