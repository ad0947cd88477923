from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.get_recommendations_repeats import GetRecommendationsRepeats
from ...models.list_body import ListBody
from ...models.problem_body import ProblemBody
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    user: int | str,
    types: list[int | str] | Unset = UNSET,
    exclude: list[str] | Unset = UNSET,
    repeats: GetRecommendationsRepeats | Unset = GetRecommendationsRepeats.EXCLUDE,
    k: int | Unset = 10,
    page: None | str | Unset = UNSET,
    titles: bool | Unset = False,
    explain: bool | Unset = False,
    at_least: list[str] | Unset = UNSET,
    list_: str | Unset = "",
    surface: None | str | Unset = UNSET,
    device: None | str | Unset = UNSET,
    time_zone: None | str | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    json_user: int | str
    json_user = user
    params["user"] = json_user

    json_types: list[int | str] | Unset = UNSET
    if not isinstance(types, Unset):
        json_types = []
        for types_item_data in types:
            types_item: int | str
            types_item = types_item_data
            json_types.append(types_item)

    params["types"] = json_types

    json_exclude: list[str] | Unset = UNSET
    if not isinstance(exclude, Unset):
        json_exclude = exclude

    params["exclude"] = json_exclude

    json_repeats: str | Unset = UNSET
    if not isinstance(repeats, Unset):
        json_repeats = repeats.value

    params["repeats"] = json_repeats

    params["k"] = k

    json_page: None | str | Unset
    if isinstance(page, Unset):
        json_page = UNSET
    else:
        json_page = page
    params["page"] = json_page

    params["titles"] = titles

    params["explain"] = explain

    json_at_least: list[str] | Unset = UNSET
    if not isinstance(at_least, Unset):
        json_at_least = at_least

    params["at_least"] = json_at_least

    params["list"] = list_

    json_surface: None | str | Unset
    if isinstance(surface, Unset):
        json_surface = UNSET
    else:
        json_surface = surface
    params["surface"] = json_surface

    json_device: None | str | Unset
    if isinstance(device, Unset):
        json_device = UNSET
    else:
        json_device = device
    params["device"] = json_device

    json_time_zone: None | str | Unset
    if isinstance(time_zone, Unset):
        json_time_zone = UNSET
    else:
        json_time_zone = time_zone
    params["time_zone"] = json_time_zone

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/v1/recommendations",
        "params": params,
    }

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
    user: int | str,
    types: list[int | str] | Unset = UNSET,
    exclude: list[str] | Unset = UNSET,
    repeats: GetRecommendationsRepeats | Unset = GetRecommendationsRepeats.EXCLUDE,
    k: int | Unset = 10,
    page: None | str | Unset = UNSET,
    titles: bool | Unset = False,
    explain: bool | Unset = False,
    at_least: list[str] | Unset = UNSET,
    list_: str | Unset = "",
    surface: None | str | Unset = UNSET,
    device: None | str | Unset = UNSET,
    time_zone: None | str | Unset = UNSET,
) -> Response[ListBody | ProblemBody]:
    """A user's list, from the live state

     Made now, from every event that this console has applied; `position` says up to which.

    `at_least` waits for a record that was written a moment ago.

    A user without history gets what is popular in the user's market.

    Args:
        user (int | str): At most 256 bytes.
        types (list[int | str] | Unset): Item types; none: all.
        exclude (list[str] | Unset): Items to leave out, as type:id. In a type write \\: for : and
            \\\\ for \\.
        repeats (GetRecommendationsRepeats | Unset):  Default: GetRecommendationsRepeats.EXCLUDE.
        k (int | Unset): Items in the answer. Default: 10.
        page (None | str | Unset): `next_page` of the page before.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history
            that are nearest. Default: False.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        surface (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        device (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        time_zone (None | str | Unset): IANA name of the zone of request.hour and request.weekday;
            none: the user's attribute time_zone, or UTC.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ListBody | ProblemBody]
    """

    kwargs = _get_kwargs(
        user=user,
        types=types,
        exclude=exclude,
        repeats=repeats,
        k=k,
        page=page,
        titles=titles,
        explain=explain,
        at_least=at_least,
        list_=list_,
        surface=surface,
        device=device,
        time_zone=time_zone,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    user: int | str,
    types: list[int | str] | Unset = UNSET,
    exclude: list[str] | Unset = UNSET,
    repeats: GetRecommendationsRepeats | Unset = GetRecommendationsRepeats.EXCLUDE,
    k: int | Unset = 10,
    page: None | str | Unset = UNSET,
    titles: bool | Unset = False,
    explain: bool | Unset = False,
    at_least: list[str] | Unset = UNSET,
    list_: str | Unset = "",
    surface: None | str | Unset = UNSET,
    device: None | str | Unset = UNSET,
    time_zone: None | str | Unset = UNSET,
) -> ListBody | ProblemBody | None:
    """A user's list, from the live state

     Made now, from every event that this console has applied; `position` says up to which.

    `at_least` waits for a record that was written a moment ago.

    A user without history gets what is popular in the user's market.

    Args:
        user (int | str): At most 256 bytes.
        types (list[int | str] | Unset): Item types; none: all.
        exclude (list[str] | Unset): Items to leave out, as type:id. In a type write \\: for : and
            \\\\ for \\.
        repeats (GetRecommendationsRepeats | Unset):  Default: GetRecommendationsRepeats.EXCLUDE.
        k (int | Unset): Items in the answer. Default: 10.
        page (None | str | Unset): `next_page` of the page before.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history
            that are nearest. Default: False.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        surface (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        device (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        time_zone (None | str | Unset): IANA name of the zone of request.hour and request.weekday;
            none: the user's attribute time_zone, or UTC.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ListBody | ProblemBody
    """

    return sync_detailed(
        client=client,
        user=user,
        types=types,
        exclude=exclude,
        repeats=repeats,
        k=k,
        page=page,
        titles=titles,
        explain=explain,
        at_least=at_least,
        list_=list_,
        surface=surface,
        device=device,
        time_zone=time_zone,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    user: int | str,
    types: list[int | str] | Unset = UNSET,
    exclude: list[str] | Unset = UNSET,
    repeats: GetRecommendationsRepeats | Unset = GetRecommendationsRepeats.EXCLUDE,
    k: int | Unset = 10,
    page: None | str | Unset = UNSET,
    titles: bool | Unset = False,
    explain: bool | Unset = False,
    at_least: list[str] | Unset = UNSET,
    list_: str | Unset = "",
    surface: None | str | Unset = UNSET,
    device: None | str | Unset = UNSET,
    time_zone: None | str | Unset = UNSET,
) -> Response[ListBody | ProblemBody]:
    """A user's list, from the live state

     Made now, from every event that this console has applied; `position` says up to which.

    `at_least` waits for a record that was written a moment ago.

    A user without history gets what is popular in the user's market.

    Args:
        user (int | str): At most 256 bytes.
        types (list[int | str] | Unset): Item types; none: all.
        exclude (list[str] | Unset): Items to leave out, as type:id. In a type write \\: for : and
            \\\\ for \\.
        repeats (GetRecommendationsRepeats | Unset):  Default: GetRecommendationsRepeats.EXCLUDE.
        k (int | Unset): Items in the answer. Default: 10.
        page (None | str | Unset): `next_page` of the page before.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history
            that are nearest. Default: False.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        surface (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        device (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        time_zone (None | str | Unset): IANA name of the zone of request.hour and request.weekday;
            none: the user's attribute time_zone, or UTC.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ListBody | ProblemBody]
    """

    kwargs = _get_kwargs(
        user=user,
        types=types,
        exclude=exclude,
        repeats=repeats,
        k=k,
        page=page,
        titles=titles,
        explain=explain,
        at_least=at_least,
        list_=list_,
        surface=surface,
        device=device,
        time_zone=time_zone,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    user: int | str,
    types: list[int | str] | Unset = UNSET,
    exclude: list[str] | Unset = UNSET,
    repeats: GetRecommendationsRepeats | Unset = GetRecommendationsRepeats.EXCLUDE,
    k: int | Unset = 10,
    page: None | str | Unset = UNSET,
    titles: bool | Unset = False,
    explain: bool | Unset = False,
    at_least: list[str] | Unset = UNSET,
    list_: str | Unset = "",
    surface: None | str | Unset = UNSET,
    device: None | str | Unset = UNSET,
    time_zone: None | str | Unset = UNSET,
) -> ListBody | ProblemBody | None:
    """A user's list, from the live state

     Made now, from every event that this console has applied; `position` says up to which.

    `at_least` waits for a record that was written a moment ago.

    A user without history gets what is popular in the user's market.

    Args:
        user (int | str): At most 256 bytes.
        types (list[int | str] | Unset): Item types; none: all.
        exclude (list[str] | Unset): Items to leave out, as type:id. In a type write \\: for : and
            \\\\ for \\.
        repeats (GetRecommendationsRepeats | Unset):  Default: GetRecommendationsRepeats.EXCLUDE.
        k (int | Unset): Items in the answer. Default: 10.
        page (None | str | Unset): `next_page` of the page before.
        titles (bool | Unset):  Default: False.
        explain (bool | Unset): With `why`: the parts of each score, and the items of the history
            that are nearest. Default: False.
        at_least (list[str] | Unset): Places of records, topic/partition/offset, that the answer
            must include: it waits for them, and gets status 503 if that takes too long.
        list_ (str | Unset): Name of the list whose policy applies; none: that of *. Default: ''.
        surface (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        device (None | str | Unset): For policies: request.surface, request.device, request.hour,
            request.weekday.
        time_zone (None | str | Unset): IANA name of the zone of request.hour and request.weekday;
            none: the user's attribute time_zone, or UTC.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ListBody | ProblemBody
    """

    return (
        await asyncio_detailed(
            client=client,
            user=user,
            types=types,
            exclude=exclude,
            repeats=repeats,
            k=k,
            page=page,
            titles=titles,
            explain=explain,
            at_least=at_least,
            list_=list_,
            surface=surface,
            device=device,
            time_zone=time_zone,
        )
    ).parsed
