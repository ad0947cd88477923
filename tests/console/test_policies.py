"""Policies over HTTP: rights, checks as workers make them, versions, previews."""

import json

import pytest

from streams import Item, TopicSettings, User, encode
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, NOW, SEER, STRANGER, make_world
from tests.waiting import wait_until

GOOD = 'list = "mix"\nfilter = "item.stock > 0"\n[[cap]]\nattribute = "creator"\nmost = 2\n'
READER = {"Authorization": f"Bearer {SEER}"}


def stocked(world):
    """Give every item a stock, half of them none, and a creator; users a plan."""
    topics = world.settings.topics
    names = zip(world.items.item_types, world.items.item_ids, strict=True)
    for row, (item_type, item_id) in enumerate(names):
        item = Item(
            item_id=item_id, item_type=item_type, title=f"Title {row}",
            description=f"A story about topic {world.items.topic[row]}",
            attributes={"stock": row % 2, "creator": f"maker <b>{row % 7}"},
        )  # fmt: skip
        world.log.append(topics.catalogue, item.key, encode(item))
    user = User(user_id="user-00", country="DE", attributes={"plan": "free"})
    world.log.append(topics.users, user.key, encode(user))
    return world


@pytest.fixture(scope="module")
def shop(tmp_path_factory, items, bundles):
    made = stocked(make_world(tmp_path_factory.mktemp("policies"), items, bundles))
    made.announce(bundles[0])
    with ready(made) as found:
        yield found


@pytest.fixture(scope="module")
def client(shop):
    with shop.client(headers=HEADERS) as found:
        policies = shop.app.state.replica.channels.policies
        wait_until(policies.catalogue_read.is_set, "the attributes of the catalogue")
        yield found


def of(client, name):
    return next(one for one in client.get("/v1/policies").json() if one["list"] == name)


def test_each_right_is_needed_by_itself(shop):
    with shop.client(headers=READER) as seer, shop.client() as nobody:
        assert nobody.get("/v1/policies").status_code == 401
        assert seer.get("/v1/policies").status_code == 403
        assert seer.post("/v1/policies/check", json={"text": GOOD}).status_code == 403
        said = seer.post("/v1/policies", json={"text": GOOD, "after": 0})
        assert "'write_policies'" in said.json()["detail"]
        assert seer.post("/v1/policies/preview", json={"text": GOOD}).status_code == 403
        assert nobody.get("/console/rights").json() == {"name": None, "rights": []}
        assert seer.get("/console/rights").json() == {"name": SEER, "rights": ["people"]}
        stranger = {"Authorization": f"Bearer {STRANGER}"}
        assert seer.get("/v1/policies/words", headers=stranger).status_code == 403


def test_a_check_says_where_and_why(client):
    good = client.post("/v1/policies/check", json={"text": GOOD}).json()
    assert (good["good"], good["list"]) == (True, "mix")
    bad = client.post("/v1/policies/check", json={"text": GOOD.replace("stock", "stok")}).json()
    fault = bad["fault"]
    assert (bad["good"], fault["where"], fault["line"], fault["column"]) == (False, "filter", 2, 11)
    assert "item.stock" in fault["what"]
    deep = client.post("/v1/policies/check", json={"text": f'filter = "{"(" * 99}1=1"'}).json()
    assert "nested more than" in deep["fault"]["what"]
    words = client.get("/v1/policies/words").json()
    expected = {"item.stock": "number", "item.creator": "text", "user.plan": "text"}
    assert words["attributes"].items() >= expected.items()
    assert words["attributes"]["request.now"] == "time"


def test_versions_are_applied_one_after_the_other_and_undone(client, shop):
    def post(path, **body):
        return client.post(f"/v1/policies{path}", json=body)

    assert of(client, "mix") == {"list": "mix", "newest": 0, "in_force": None, "versions": []}
    refused = post("", text="filter = 'item.x'", after=0)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["where"] == "body.text.filter"
    made = post("", text=GOOD, after=0, author="Ann", comment="stock")
    assert (made.status_code, made.json()) == (202, {"list": "mix", "version": 1})
    late = post("", text=GOOD, after=0)
    assert (late.status_code, late.json()["detail"]) == (
        409, "the newest version of the policy of mix is 1 by Ann (do-all)"
    )  # fmt: skip
    [version] = of(client, "mix")["versions"]
    assert (version["author"], version["comment"], version["created_at"]) == (
        "Ann (do-all)", "stock", NOW
    )  # fmt: skip
    assert version["text"] == GOOD.replace("\n[[", "\n\n[[")
    replica = shop.app.state.replica
    wait_until(lambda: replica.channels.policies.versions == {"mix": 1}, "the policy in force")
    checked = post("/check", text=GOOD + "[fresh]\n").json()
    assert checked["newest"] == 1
    assert any(line.startswith("+") and "fresh" in line for line in checked["difference"])
    listed = client.get("/v1/recommendations", params={"user": "user-03", "list": "mix"}).json()
    assert listed["items"]
    for one in listed["items"]:
        found = client.get("/v1/item", params={"type": one["item_type"], "id": one["item_id"]})
        assert found.json()["catalogue"]["attributes"]["stock"] > 0
    undone = post("/undo", list="mix", after=1)
    assert undone.json() == {"list": "mix", "version": 2}
    wait_until(lambda: replica.channels.policies.versions == {"mix": 2}, "the undo in force")
    assert of(client, "mix")["versions"][0]["comment"] == "undo: no policy"
    assert post("/undo", list="other", after=0).status_code == 404


def test_a_preview_shows_both_sides_and_changes_nothing(client, shop):
    before = client.get("/v1/policies").json()
    text = 'list = "front"\nfilter = "item.stock > 0 and item.creator = \'maker <b>1\'"\n'
    body = {"text": text, "users": ["user-03"], "random": 5, "seed": 3}
    answer = client.post("/v1/policies/preview", json=body)
    assert answer.status_code == 200
    found = answer.json()
    assert [len(found["users"]), found["users"][0]["user_id"]] == [6, "user-03"]
    sides = found["users"][0]["lists"]["front"]
    assert len(sides["before"]) > len(sides["after"])
    assert found["lists"]["front"]["short_after"] == 6
    assert client.post("/v1/policies/preview", json=body).json() == found
    assert client.get("/v1/policies").json() == before
    refused = client.post("/v1/policies/preview", json=body | {"text": "x ="})
    assert "line 1, column 4" in json.dumps(refused.json())


def test_a_log_without_the_topic_is_said(client, shop, monkeypatch):
    monkeypatch.setattr(shop.app.state.replica, "topics", TopicSettings(prefix="none"))
    answer = client.get("/v1/policies")
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "there is no topic none.policies: run segue topics create"
    )  # fmt: skip
