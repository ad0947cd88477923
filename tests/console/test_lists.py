"""Lists that are asked for by a body: of a user, of many, of a session; and of everybody."""

import asyncio

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from console.serving import Wanted
from segue.cli import app
from segue.mailing import write_lists
from segue.serving_console import open_replica
from tests.console.worlds import NOW, SEER, STRANGER, WordVectors, make_world

PATH = "/v1/recommendations"


@pytest.fixture(scope="module")
def client(running):
    with running.client(headers={"Authorization": f"Bearer {SEER}"}) as found:
        yield found


def ids(body):
    return [(item["item_type"], item["item_id"]) for item in body["items"]]


def test_a_user_in_a_body_gets_the_list_of_the_query(client):
    query = {"user": "user-03", "k": 7, "types": "podcast", "titles": True, "exclude": "podcast:i3"}
    by_query = client.get(PATH, params=query).json()
    body = {"user": "user-03", "k": 7, "types": ["podcast"], "titles": True}
    excluded = [{"item_type": "podcast", "item_id": "i3"}]
    by_body = client.post(PATH, json=body | {"exclude": excluded}).json()
    assert by_body["items"] == by_query["items"]
    assert by_body["positions"] == by_query["positions"]
    assert all(item["title"] for item in by_body["items"])
    following = client.post(PATH, json=body | {"exclude": excluded, "page": by_body["next_page"]})
    assert following.json()["continued"]
    assert not set(ids(following.json())) & set(ids(by_body))


def test_a_body_excludes_more_than_a_query_can(client):
    body = {"user": "user-03", "k": 100, "repeats": "include"}
    everything = ids(client.post(PATH, json=body).json())
    first = [{"item_type": kind, "item_id": name} for kind, name in everything[:60]]
    padding = [{"item_type": "podcast", "item_id": f"no-{n}"} for n in range(440)]
    rest = client.post(PATH, json=body | {"k": 40, "exclude": first + padding})
    assert ids(rest.json()) == everything[60:100]
    assert (
        client.post(PATH, json=body | {"exclude": [*first, *padding, first[0]]}).status_code == 422
    )


def test_lists_of_many_are_those_of_each(client):
    users = ["user-01", "nobody", "user-02"]
    answer = client.post(f"{PATH}/users", json={"users": users, "k": 5, "titles": True})
    lists = answer.json()["lists"]
    assert [one["user_id"] for one in lists] == users
    assert [one["cold"] for one in lists] == [False, True, False]
    for one in lists:
        alone = client.get(PATH, params={"user": one["user_id"], "k": 5, "titles": True}).json()
        assert ids(one) == ids(alone)
        assert [item["title"] for item in one["items"]] == [i["title"] for i in alone["items"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PATH, {"user": "u"}, 403),
        (f"{PATH}/users", {"users": ["u"]}, 403),
        (PATH, {"items": []}, 200),
    ],
)
def test_to_name_users_takes_a_right(running, path, body, status):
    with running.client() as nobody:
        assert nobody.post(path, json=body).status_code == (200 if status == 200 else 401)
        headers = {"Authorization": f"Bearer {STRANGER}"}
        assert nobody.post(path, json=body, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PATH, {"user": "u", "items": []}, 422),
        (PATH, {}, 422),
        (PATH, {"user": "a\0"}, 404),
        (PATH, {"user": "u", "at_least": ["segue.catalogue/0/0"]}, 404),
        (f"{PATH}/users", {"users": []}, 422),
        (f"{PATH}/users", {"users": ["u"] * 101}, 422),
        (f"{PATH}/users", {"users": ["u", "a\0"]}, 404),
    ],
)
def test_what_cannot_be_answered_is_refused(client, path, body, status):
    assert client.post(path, json=body).status_code == status


def test_a_session_with_titles_in_its_body(client):
    body = {"items": [{"item_type": "podcast", "item_id": "i1"}], "k": 3, "titles": True}
    assert all(item["title"] for item in client.post(PATH, json=body).json()["items"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a user, or --all"),
        (("",), "expected an id of 1 to 256 bytes"),
        (("u", "--to", "f"), "expected a user, or --all"),
        (("--all",), "expected --all --to FILE and no user"),
        (("u", "--all", "--to", "f"), "expected --all --to FILE and no user"),
    ],
)
def test_segue_recommend_takes_a_user_or_a_file_for_all(arguments, message):
    answer = CliRunner().invoke(app, ["recommend", *arguments])
    assert answer.exit_code == 2
    assert message in " ".join(answer.output.split())


def test_a_file_has_the_list_of_every_user(tmp_path, items, bundles, running, client):
    world = make_world(tmp_path, items, bundles)
    for bundle in bundles:
        world.announce(bundle)
    file = tmp_path / "lists.parquet"
    replica, serving = open_replica(
        world.settings, tmp_path / "mailing", world.log, lambda: NOW, WordVectors()
    )
    told: list[tuple[int, int]] = []
    users = asyncio.run(
        write_lists(replica, serving, file, Wanted(k=5), lambda *done: told.append(done))
    )
    world.log.close()
    assert users == len(world.users)
    assert told[-1] == (users, users)
    rows = pq.read_table(file).to_pylist()
    for user in world.users:
        mine = [row for row in rows if row["user_id"] == user]
        assert [row["place"] for row in mine] == [1, 2, 3, 4, 5]
        listed = client.get(PATH, params={"user": user, "k": 5, "titles": True}).json()["items"]
        assert [(row["item_type"], row["item_id"], row["title"]) for row in mine] == [
            (item["item_type"], item["item_id"], item["title"]) for item in listed
        ]
    assert not list(tmp_path.glob("*.partial"))
