"""The HTTP API, asked by a real client."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from agents.working.partitions import user_state
from console.cursor import BadCursor, Cursor
from dynamic_layer import ListSettings, Recommender
from streams import (
    Event,
    ListPolicy,
    SourceSettings,
    TimestampMapping,
    TopicDefinition,
    TopicSettings,
    create_topics,
    encode,
    erasure_value,
    topics,
)
from streams.partitioner import murmur2_partition
from tests.console.worlds import HEADERS, NOW, OWNER, SEER, STRANGER, WordVectors, served
from tests.waiting import wait_until

PROBLEM = "application/problem+json"


def ids(body):
    return [(item["item_type"], item["item_id"]) for item in body["items"]]


@pytest.fixture(scope="module")
def client(running):
    with running.client(headers={"Authorization": f"Bearer {SEER}"}) as found:
        yield found


def test_a_list_is_that_of_the_workers_code(client, running):
    world = running.world
    answer = client.get("/v1/recommendations", params={"user": "user-03", "k": 5, "titles": True})
    assert answer.status_code == 200
    body = answer.json()
    liked = np.flatnonzero(world.items.topic == 3)
    rows = [int(liked[(3 + day) % len(liked)]) for day in (2, 1, 0)]
    replica = running.app.state.replica
    known = replica.partitions.states[body["partition"]].history("user-03")
    assert known.item_keys.tolist() == world.items.item_keys[rows].tolist()
    expected = Recommender(world.bundles[-1]).recommend(
        [user_state(replica.state_of("user-03"), "user-03")], [ListSettings(name="x", k=5)], NOW
    )[0]["x"]
    assert ids(body) == list(zip(expected.item_types, expected.item_ids, strict=True))
    assert body["generation"] == world.bundles[-1].generation
    assert body["cold"] is False
    assert all(item["title"].startswith("Title ") for item in body["items"])
    # No item that the user had.
    had = {(world.items.item_types[row], world.items.item_ids[row]) for row in rows}
    assert not had & set(ids(body))


def test_types_exclusions_and_repeats(client, running):
    ask = {"user": "user-03", "k": 20}
    first = client.get("/v1/recommendations", params={**ask, "types": "podcast"}).json()
    assert {kind for kind, _ in ids(first)} == {"podcast"}
    banned = ids(first)[:3]
    less = client.get(
        "/v1/recommendations",
        params={**ask, "types": "podcast", "exclude": [f"{t}:{i}" for t, i in banned]},
    ).json()
    assert ids(less)[:17] == ids(first)[3:]
    assert not set(banned) & set(ids(less))
    only = client.get("/v1/recommendations", params={**ask, "repeats": "only"}).json()
    assert len(only["items"]) == 3


def test_pages_are_cut_from_one_list(client):
    ask = {"user": "user-05", "k": 100}
    whole = ids(client.get("/v1/recommendations", params=ask).json())
    pages, page = [], None
    while page is not None or not pages:
        params = {"user": "user-05", "k": 30} | ({"page": page} if page else {})
        body = client.get("/v1/recommendations", params=params).json()
        assert body["continued"]
        pages += ids(body)
        page = body["next_page"]
    assert pages[:100] == whole
    assert len(set(pages)) == len(pages) == 120 - 3
    # With other wishes it is not the same list any more, and says so.
    page = client.get("/v1/recommendations", params={"user": "user-05", "k": 3}).json()["next_page"]
    other = client.get(
        "/v1/recommendations", params={"user": "user-05", "page": page, "types": "podcast"}
    ).json()
    assert other["continued"] is False


def test_a_stranger_gets_what_is_popular(client):
    body = client.get("/v1/recommendations", params={"user": "nobody has this id"}).json()
    assert body["cold"] is True
    assert len(body["items"]) == 10


def test_a_session_is_served_like_a_user_with_its_history(client, running):
    items = running.world.items
    rows = np.flatnonzero(items.topic == 2)[:3].tolist()
    seen = [{"item_type": items.item_types[row], "item_id": items.item_ids[row]} for row in rows]
    body = client.post("/v1/recommendations", json={"items": seen, "k": 10}).json()
    topics = [int(items.topic[items.item_ids.index(name)]) for _, name in ids(body)]
    assert topics.count(2) >= 5
    assert not {(s["item_type"], s["item_id"]) for s in seen} & set(ids(body))
    after = client.post(
        "/v1/recommendations", json={"items": seen, "k": 10, "page": body["next_page"]}
    ).json()
    assert after["continued"]
    assert not set(ids(body)) & set(ids(after))


def test_similar_items_are_the_nearest(client, running):
    bundle = running.world.bundles[-1]
    body = client.get("/v1/similar", params={"type": "podcast", "id": "i0", "k": 7}).json()
    cosines = bundle.vectors @ bundle.vectors[0]
    cosines[0] = -1
    nearest = np.argsort(-cosines)[:7]
    assert [name for _, name in ids(body)] == [bundle.item_ids[row] for row in nearest]
    scores = [item["score"] for item in body["items"]]
    assert np.allclose(scores, cosines[nearest], atol=1e-4)
    assert client.get("/v1/similar", params={"type": "podcast", "id": "x"}).status_code == 404


def test_texts_of_few_users_are_shown_to_nobody_else(world):
    world.announce(world.bundles[-1])
    item = {"type": world.items.item_types[40], "id": world.items.item_ids[40]}
    for user in ("typist-1", "typist-2"):
        source = world.listen(user, 40, 46)
        event = Event(
            user_id=user, item_id="  My own STREET 5", item_type="query", kind="stream",
            timestamp=NOW,
        )  # fmt: skip
        world.log.append(source.topic, event.key, encode(event))
    with (
        served(world) as found,
        found.client(headers={"Authorization": f"Bearer {SEER}"}) as client,
    ):

        def body():
            return client.get("/v1/item", params={**item, "k": 50}).json()

        wait_until(lambda: body().get("neighbours"), "the two typists to be counted")
        near = {(other["item_type"], other["item_id"]) for other in body()["neighbours"]}
        assert (world.items.item_types[46], world.items.item_ids[46]) in near
        assert "query" not in {item_type for item_type, _ in near}
        for written in ("my own street 5", "nobody typed this"):
            answer = client.get("/v1/item", params={"type": "query", "id": written})
            assert answer.status_code == 404
        # Whoever may see people sees what they typed, in its normal form.
        history = client.get("/v1/user", params={"user": "typist-1"}).json()["history"]
        assert ("query", "my own street 5", "my own street 5") in {
            (entry["item_type"], entry["item_id"], entry["title"]) for entry in history
        }


def test_search_places_a_text_as_a_new_item_would_be(client, running):
    bundle = running.world.bundles[-1]
    body = client.get(
        "/v1/search", params={"q": "sea stories", "types": "audiobook", "k": 5}
    ).json()
    text = WordVectors().encode(["sea stories"])
    _, vectors = bundle.embed(item_types=["audiobook"], languages=[None], genres=[None], text=text)
    cosines = bundle.vectors @ vectors[0]
    rows = [row for row in np.argsort(-cosines) if bundle.item_types[row] == "audiobook"][:5]
    assert [name for _, name in ids(body)] == [bundle.item_ids[row] for row in rows]


def test_an_item_and_its_neighbours(client, running):
    items = running.world.items
    row = int(np.flatnonzero(items.topic == 3)[3])
    body = client.get(
        "/v1/item", params={"type": items.item_types[row], "id": items.item_ids[row], "k": 50}
    ).json()
    # The users of topic 3 are 03, 09 and 15; each had three items in a row.
    assert body["users"] == 1
    assert {n["item_id"] for n in body["neighbours"]} <= {
        items.item_ids[r] for r in np.flatnonzero(items.topic == 3)
    }
    assert {n["users"] for n in body["neighbours"]} == {1}
    assert body["catalogue"]["title"] == f"Title {row}"
    assert body["recommendable"] is True
    assert client.get("/v1/item", params={"type": "podcast", "id": "?"}).status_code == 404


def test_a_deleted_item_is_not_recommendable(world, bundles):
    world.announce(bundles[0])
    row = int(np.flatnonzero(world.items.topic == 3)[3])
    place = {"type": world.items.item_types[row], "id": world.items.item_ids[row]}
    with served(world) as found, found.client() as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        assert client.get("/v1/item", params=place).json()["recommendable"] is True
        key = f"{place['type']}\0{place['id']}".encode()
        world.log.append(world.settings.topics.catalogue, key, None)
        wait_until(
            lambda: client.get("/v1/item", params=place).json()["recommendable"] is False,
            "the deletion",
        )


def test_positions_are_those_of_sources_that_are_read_in_place(world, bundles):
    shop = SourceSettings(topic="shop", timestamp=TimestampMapping(field="at", unit="s"))
    own = TopicSettings(prefix="other", partitions=2)
    world.settings = replace(world.settings, topics=own, sources=(shop,))
    create_topics(world.log, topics(own))
    world.log.create_topic(TopicDefinition(name="shop", partitions=2))
    world.announce(bundles[0])
    event = {"user_id": "ann", "item_id": "i3", "item_type": "podcast", "kind": "stream"}
    for _ in range(3):
        value = json.dumps(event | {"at": NOW // 1000}).encode()
        partition, offset = world.log.append("shop", b"ann", value)
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        for path in ("/v1/user", "/v1/recommendations", "/console/user"):
            body = client.get(path, params={"user": "ann"}).json()
            assert (body["topic"], body["position"]) == ("shop", offset + 1)
            assert body["positions"] == {"other.events": 0, "shop": 3}
        now = client.get("/console/now").json()["partitions"]
        assert [row["position"] for row in now if row["partition"] == partition] == [3]
        assert [row["last_applied_ms"] for row in now if row["partition"] == partition] == [NOW]
        own_event = Event(
            user_id="ann", item_id="i4", item_type="podcast", kind="stream", timestamp=NOW
        )
        world.log.append(own.events, own_event.key, encode(own_event))
        wait_until(
            lambda: client.get("/v1/user", params={"user": "ann"}).json()["position"] == 1,
            "the event",
        )
        assert client.get("/v1/user", params={"user": "ann"}).json()["topic"] == own.events


def test_a_list_is_explained_on_request(client):
    ask = {"user": "user-03", "k": 7}
    plain = client.get("/v1/recommendations", params=ask).json()
    assert not any("why" in item for item in plain["items"])
    found = client.get("/v1/recommendations", params=ask | {"explain": "true"}).json()
    assert [i["item_id"] for i in found["items"]] == [i["item_id"] for i in plain["items"]]
    for item in found["items"]:
        why = item["why"]
        assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=1e-3)
        assert why["nearest"]
        assert all(near["item_id"] for near in why["nearest"])
    # A page that goes on, with exclusions, and by a body, is explained too.
    exclude = [{name: found["items"][1][name] for name in ("item_type", "item_id")}]
    body = ask | {"explain": True, "page": found["next_page"], "exclude": exclude}
    more = client.post("/v1/recommendations", json=body).json()
    assert len(more["items"]) == 7
    for item in more["items"]:
        parts = item["why"]["parts"]
        assert sum(parts.values()) == pytest.approx(item["score"], abs=1e-3)


def test_what_a_policy_did_is_in_the_explanation(running, client):
    world = running.world
    rules = {
        "filter": "item.type = 'podcast'",
        "boost": [{"when": "item.type <> 'x'", "factor": 2}],
    }
    # No other test asks for this list.
    record = ListPolicy(list="ruled", version=1, rules=rules, author="ann", created_at=1)
    world.log.append(world.settings.topics.policies, record.key, encode(record))
    ask = {"user": "user-03", "k": 5, "explain": "true"}

    def explained():
        return client.get("/v1/recommendations", params=ask | {"list": "ruled"}).json()

    wait_until(lambda: "filtered" in explained(), "the policy")
    podcasts = world.items.item_types.count("podcast")
    assert explained()["filtered"] == {"items": len(world.items.item_ids), "left": podcasts}
    rules = explained()["items"][0]["why"]["rules"]
    assert rules == [
        {"rule": "boost[0]", "when": "item.type <> 'x'", "adds": pytest.approx(math.log(2))}
    ]
    assert "filtered" not in client.get("/v1/recommendations", params=ask).json()


def test_a_policy_reads_the_context_of_a_request(running, client):
    world = running.world
    rules = {"filter": "request.surface = 'home' and request.hour >= 0"}
    record = ListPolicy(list="at-home", version=1, rules=rules, author="ann", created_at=1)
    world.log.append(world.settings.topics.policies, record.key, encode(record))
    ask = {"user": "user-03", "k": 5, "list": "at-home"}

    def items(**more):
        return len(client.get("/v1/recommendations", params=ask | more).json()["items"])

    wait_until(lambda: items() == 0, "the policy")
    assert (items(surface="search", device="tv"), items(surface="home")) == (0, 5)
    at_home = {"surface": "home", "time_zone": "Asia/Tokyo"}
    for more, found in (({}, 0), ({"context": at_home}, 5)):
        assert len(client.post("/v1/recommendations", json=ask | more).json()["items"]) == found
        body = {"items": [], "list": "at-home", "k": 5} | more
        assert len(client.post("/v1/recommendations", json=body).json()["items"]) == found
    bad = ask | {"context": {"surface": "home", "mood": "good"}}
    assert client.post("/v1/recommendations", json=bad).status_code == 422


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"user": "user-03", "k": 0}, ["body.k"]),
        ({"user": "user-03", "context": {"mood": "good"}}, ["body.context.mood"]),
        ({"items": [{"item_type": "song"}]}, ["body.items.0.item_id"]),
        ({"items": [], "k": 10**9, "birth_year": -1}, ["body.k", "body.birth_year"]),
    ],
)
def test_mistakes_are_those_of_the_body_that_was_meant(client, body, where):
    """A user's and a session's list have one path; a body of one has no mistakes of the other."""
    answer = client.post("/v1/recommendations", json=body)
    assert answer.status_code == 422
    assert sorted(one["where"] for one in answer.json()["errors"]) == sorted(where)


def test_a_session_is_explained_too(client):
    [best, *_] = client.get("/v1/recommendations", params={"user": "user-03"}).json()["items"]
    seen = {name: best[name] for name in ("item_type", "item_id")}
    found = client.post("/v1/recommendations", json={"items": [seen], "explain": True}).json()
    [near] = found["items"][0]["why"]["nearest"]
    assert near["item_id"] == seen["item_id"]


def test_the_page_of_a_user_shows_the_parts_of_each_score(client):
    found = client.get("/console/user", params={"user": "user-03"}).json()
    for item in found["recommended"]:
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-3)


def test_what_is_known_of_a_user(client):
    body = client.get("/v1/user", params={"user": "user-04"}).json()
    assert body["attributes"]["country"] == "DE"
    assert body["entries"] == len(body["history"]) == 3
    assert [e["time"] for e in body["history"]] == sorted(
        (e["time"] for e in body["history"]), reverse=True
    )


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("GET", "/v1/recommendations?user=u", "people"),
        ("GET", "/v1/user?user=u", "people"),
        ("GET", "/console/user?user=u", "people"),
        ("GET", "/console/people?q=u", "people"),
        ("GET", "/console/letters", "people"),
        ("DELETE", "/v1/user?user=u", "write"),
        ("GET", "/v1/receipt?topic=t&partition=0&offset=0", "write"),
        ("PUT", "/v1/pin", "write"),
        ("DELETE", "/v1/pin", "write"),
        ("POST", "/v1/rollback", "write"),
    ],
)
def test_who_shows_or_changes_a_person_needs_a_right(running, method, path, needs):
    with running.client() as nobody:
        body = {"json": {"name": "g000000001"}} if method == "PUT" else {}
        answer = nobody.request(method, path, **body)
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        wrong = nobody.request(method, path, headers={"Authorization": "Bearer no"}, **body)
        assert wrong.status_code == 401
        lacking = STRANGER if needs == "people" else SEER
        answer = nobody.request(
            method, path, headers={"Authorization": f"Bearer {lacking}"}, **body
        )
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")
        assert needs in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/recommendations?user=", 422),
        ("GET", "/v1/recommendations?user=u&k=0", 422),
        ("GET", "/v1/recommendations?user=u&kk=5", 422),
        ("GET", "/v1/recommendations?user=u&k=101", 422),
        ("GET", "/v1/recommendations?user=u&page=zzz", 404),
        ("GET", "/v1/recommendations?user=u&types=film", 404),
        ("GET", "/v1/recommendations?user=u%00", 404),
        ("GET", "/v1/recommendations?user=" + "%C3%BC" * 200, 404),
        ("GET", "/v1/search?q=" + "a" * 501, 422),
        ("PATCH", "/v1/user", 405),
    ],
)
def test_errors_are_problems(client, method, path, status):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    body = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"items": 1}', b'{"items": [], "k": 1e400}', b"\xff\xfe",
        b'{"items": [{"item_type": "podcast"}]}', b"[" * 5_000, b'{"items": [], "more": 1}',
        b'{"items": [{"item_type": "a", "item_id": "b", "timestamp": -1}]}',
    ],
)  # fmt: skip
def test_malformed_bodies_are_refused(client, body):
    answer = client.post(
        "/v1/recommendations", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.headers["content-type"]) in [(422, PROBLEM), (400, PROBLEM)]


def test_long_bodies_are_refused_whether_they_say_so_or_not(client):
    long = json.dumps({"items": [], "country": "x" * 70_000}).encode()
    assert client.post("/v1/recommendations", content=long).status_code == 413

    def pieces():
        for start in range(0, len(long), 4_096):
            yield long[start : start + 4_096]

    answer = client.post("/v1/recommendations", content=pieces())
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)


def test_an_event_is_in_the_next_list(world, bundles):
    """The list is made of what was applied, and says up to where."""
    world.announce(bundles[0])
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        ask = {"user": "new", "k": 5}
        assert client.get("/v1/recommendations", params=ask).json()["cold"]
        rows = np.flatnonzero(world.items.topic == 1)[:2].tolist()
        place = world.listen("new", *rows)
        wait_until(
            lambda: client.get("/v1/recommendations", params=ask).json()["position"] > place.offset,
            "the events to be applied",
        )
        body = client.get("/v1/recommendations", params=ask).json()
        assert body["cold"] is False
        assert not {world.items.item_ids[row] for row in rows} & {name for _, name in ids(body)}


def test_ready_only_with_a_bundle_and_a_rollback_holds(world, bundles):
    world.announce(bundles[0])
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "generation 1")

        def generation():
            return client.get("/ready").json()["generation"]

        world.announce(bundles[1])
        wait_until(lambda: generation() == 2, "generation 2")
        names = [bundle["name"] for bundle in client.get("/v1/generations").json()]
        assert names == ["g000000002", "g000000001"]
        assert client.put("/v1/pin", json={"name": "g000000009"}).status_code == 404
        assert client.put("/v1/pin", json={"name": "../../etc"}).status_code == 422
        assert client.put("/v1/pin", json={"name": "g000000001"}).status_code == 202
        wait_until(lambda: generation() == 1, "the rollback")
        pinned = client.get("/v1/generations").json()
        on = ["default"]
        assert [(b["served_on"], b["pinned_on"]) for b in pinned] == [([], []), (on, on)]
    # A console that starts later finds the pin, too.
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: generation_of(client) == 1, "the pinned generation")
        assert client.delete("/v1/pin").status_code == 202
        wait_until(lambda: generation_of(client) == 2, "the trainer's newest")


def generation_of(client):
    return client.get("/ready").json()["generation"]


def test_nothing_is_answered_before_a_bundle_is_there(world):
    with served(world) as found, found.client(headers=HEADERS) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        answer = client.get("/v1/recommendations", params={"user": "user-01"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
        assert answer.headers["retry-after"] == "1"


def test_an_erased_user_is_gone_here_and_the_records_are_those_of_segue_erase(world, bundles):
    world.announce(bundles[0])
    with served(world) as found, found.client(headers=HEADERS) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the console to be ready")
        wait_until(
            lambda: client.get("/v1/user?user=user-06").json()["entries"] == 3, "the history"
        )
        number = murmur2_partition(b"user-06", world.settings.topics.partitions)
        [state] = world.settings.folder.rglob(f"state/{number:05d}")
        aside = [state.with_name(f"{state.name}.{n}") for n in ("damaged", "other-log")]
        for folder in aside:
            folder.mkdir()
        answer = client.delete("/v1/user", params={"user": "user-06"})
        assert answer.status_code == 202
        body = answer.json()
        wait_until(lambda: client.get(body["receipt"]).json()["applied_here"], "the erasure")
        assert client.get(body["receipt"]).json()["done"] is False  # no worker runs here
        known = client.get("/v1/user?user=user-06").json()
        assert (known["entries"], known["attributes"]) == (0, {})
        wait_until(lambda: not any(folder.exists() for folder in aside), "what was put aside to go")
        events = world.settings.topics.events
        record = world.log.read(events, body["events"]["partition"], body["events"]["offset"])[0]
        written = erasure_value(world.log, "user-06", world.settings.sources)
        assert (record.key, record.value) == (b"user-06", written)


def test_clients_are_limited_each_for_itself(world, bundles):
    world.announce(bundles[0])
    console = replace(world.settings.console, rate_per_s=0.001, burst=3)
    world.settings = replace(world.settings, console=console)
    with served(world) as found, found.client() as client:
        statuses = [client.get("/v1/generations").status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = client.get("/v1/generations")
        assert refused.headers["content-type"] == PROBLEM
        assert int(refused.headers["retry-after"]) > 1
        # Probes always get their answer, and a token has a bucket of its own.
        assert client.get("/health").status_code == 200
        own = {"Authorization": f"Bearer {OWNER}"}
        assert client.get("/v1/generations", headers=own).status_code == 200
        # A token that nobody knows opens no further bucket.
        unknown = {"Authorization": "Bearer made-up"}
        assert client.get("/v1/generations", headers=unknown).status_code == 429


def test_metrics_name_routes_and_nothing_that_a_client_sent(client):
    client.get("/v1/secret-user-id")
    client.get("/v1/recommendations", params={"user": "user-03"})
    text = client.get("/metrics").text
    assert 'segue_http_requests_total{route="/v1/recommendations",status="2xx"}' in text
    assert "secret-user-id" not in text
    assert "segue_console_served_generation 2.0" in text


@pytest.mark.parametrize(
    "text", ["", "!", "e30", "WzEsMl0", "A" * 401, "WzUwMSwxLDEsIiIsIiJd", "ü"]
)
def test_bad_cursors_are_told_from_good_ones(text):
    with pytest.raises(BadCursor):
        Cursor.read(text, 500, NOW)
    good = Cursor(offset=10, now_ms=NOW, generation=3, user="a", wanted="b")
    assert Cursor.read(good.text(), 500, NOW) == good


@pytest.mark.parametrize("now_ms", [NOW - 86_400_001, NOW + 60_001, (1 << 53) - 1, -1, 0])
def test_a_cursor_cannot_name_a_time_far_away(client, now_ms):
    """Demand would be read as of then: a time to come has all later counts taken for late."""
    forged = Cursor(offset=0, now_ms=now_ms, generation=3, user="a", wanted="b").text()
    answer = client.get("/v1/recommendations", params={"user": "user-01", "page": forged})
    assert answer.status_code == 404, answer.text
    session = {"items": [], "page": forged}
    assert client.post("/v1/recommendations", json=session).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "user=user-03&k=3",
        "user=user-03&types=podcast&types=audiobook&titles=true&k=7",
        "user=user-03&exclude=podcast:i3&exclude=podcast:i5&repeats=include",
        "user=nobody",
    ],
)
def test_the_lane_answers_as_the_framework_does(client, query):
    # A parameter that comes twice is the framework's, which takes the last.
    straight = client.get(f"/v1/recommendations?{query}")
    around = client.get(f"/v1/recommendations?user=x&{query}")
    assert around.status_code == straight.status_code == 200
    assert [i["item_id"] for i in straight.json()["items"]]
    # The pages' cursors hold the second at which they were made.
    bodies = [{**answer.json(), "next_page": None} for answer in (straight, around)]
    assert bodies[0] == bodies[1]
