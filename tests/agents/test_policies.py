"""Policies in a worker: what it writes follows them and the catalogue without a restart."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry

from agents.policies import PolicyBook
from agents.working.tally import Tally
from dynamic_layer import DynamicBundle, ListSettings, Recommender
from streams import (
    Context,
    Event,
    FilteredItems,
    Item,
    ListPolicy,
    Recommendation,
    Record,
    Request,
    decode,
    encode,
)
from tests.agents.worlds import TOPICS, Bench
from tests.dynamic_layer.conftest import *  # noqa: F403 a bundle, trained once
from tests.dynamic_layer.worlds import Items

TYPES = {"item.stock": "number"}


offsets = itertools.count()


def record(value, topic="t"):
    return Record(
        topic=topic, partition=0, offset=next(offsets), timestamp=0, key=value.key,
        value=encode(value),
    )  # fmt: skip


def policy(version, rules, name="*"):
    return ListPolicy(list=name, version=version, author="ann", created_at=1, rules=rules)


async def test_a_bad_version_is_refused_and_the_last_good_one_stays(caplog):
    book = PolicyBook()
    tally = Tally(CollectorRegistry())
    tally.watch_policies(book)
    good = policy(1, {"filter": "item.stock > 0", "types": TYPES})
    await book.take([record(good)])
    in_force = book.in_force.policies.of("mix")
    for number, rules in enumerate(
        ({"filter": "item.stok > 0"}, {"surprise": 1}, {"filter": "item.stock >"}), 2
    ):
        await book.take([record(policy(number, rules))])
    # What is read together with a refused version counts.
    await book.take([record(policy(4, {"surprise": 1})), record(policy(1, {}, "other"))])
    assert book.versions == {"*": 1, "other": 1}
    # Something else on the topic is nobody's policy.
    await book.take([Record("t", 0, next(offsets), 0, b"*/9", b"no json")])
    assert book.in_force.policies.of("mix") is in_force
    assert book.versions == {"*": 1, "other": 1}
    assert book.refused == 4
    assert "version 2 of the policy of * is refused, version 1 stays in force" in caplog.text
    assert "line 1, column 1: there is no 'item.stok'" in caplog.text
    # What is older than what was read says nothing, in whatever order it is read again.
    await book.take([record(policy(5, {}))])
    await book.take([record(good)])
    assert book.versions == {"*": 5, "other": 1}
    assert book.in_force.policies.of("mix") is None
    shown = {m.name: m.samples[0].value for m in tally.registry.collect() if "polic" in m.name}
    assert shown == {"segue_policy_version": 5, "segue_policies_refused": 4}


async def test_a_version_with_a_part_that_is_null_is_in_force_with_a_warning(caplog):
    """Where versions are written it is refused; earlier consoles wrote some."""
    book = PolicyBook()
    rules = {"filter": "item.stock / 0 > 1 or item.stock > 2", "types": TYPES}
    caplog.set_level("WARNING", logger="agents.policies")  # other tests let it say more
    await book.take([record(policy(1, {"filter": "item.stock > 0", "types": TYPES}))])
    assert caplog.text == ""
    await book.take([record(policy(2, rules))])
    assert book.versions == {"*": 2}
    [said] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "version 2 of the policy of * stays in force, but a part of it is NULL" in said
    assert "division by zero" in said


async def test_a_version_that_was_written_over_is_not_in_force_again():
    """Its record is read again after a lost connection."""
    book = PolicyBook()
    first, second = record(policy(1, {"diversity": 0.2})), record(policy(1, {"diversity": 0.5}))
    await book.take([first, second])
    await book.take([first])
    assert book.in_force.policies.of("mix").rules.diversity == 0.5


async def test_a_list_has_its_own_policy_before_that_of_all():
    book = PolicyBook()
    own = record(policy(7, {"diversity": 0.2}, "mix"))
    await book.take([record(policy(1, {"diversity": 0.5})), own])
    assert book.in_force.policies.of("other").version == 1
    assert book.in_force.policies.of("mix").version == 7
    # A version without rules ends the list's own policy.
    await book.take([record(policy(8, {}, "mix"))])
    assert book.in_force.policies.of("mix").version == 1


async def test_nothing_is_ready_before_policies_and_the_catalogue_are_read():
    book = PolicyBook()
    assert book.ready
    book.wait()
    book.policies_read.set()
    assert not book.ready  # an item may be taken down
    book.catalogue_read.set()
    assert book.ready


async def serve(bench: Bench, bundle: DynamicBundle) -> None:
    """Have a bench's worker hold every partition and serve a bundle."""
    worker = bench.worker
    in_force = worker.channels.policies.in_force
    worker.models.recommender = Recommender(bundle, in_force=in_force)
    await worker.assigned(bench.keyed)


@pytest.fixture
async def bench(tmp_path, bundle: DynamicBundle):
    """A worker that serves the small world's bundle."""
    found = Bench(tmp_path)
    found.clock.ms = 1_700_000_000_000 + 31 * 86_400_000
    await serve(found, bundle)
    yield found
    found.worker.close()
    found.log.close()


async def lists_of(bench, user, items):
    """Have a user listen, and return the lists that the worker writes."""
    ends = [bench.log.end_offset(TOPICS.recommendations, n) for n in range(TOPICS.partitions)]
    bench.clock.ms += 1_000
    bench.listen(user, *items)
    await bench.drain()
    bench.clock.ms += 1_000
    await bench.worker.tick()
    return [
        decode(Recommendation, one.value)
        for n, end in enumerate(ends)
        for one in bench.log.read(TOPICS.recommendations, n, end)
    ]


async def written(bench, user, items):
    """Have a user listen, and return the rows of the mixed list that the worker writes."""
    [mix] = [one for one in await lists_of(bench, user, items) if one.list == "mix"]
    return [int(item.item_id[1:]) for item in mix.items]


async def test_stock_takedown_and_policy_count_for_the_next_list(bench, items: Items):
    channels = bench.worker.channels
    known = [
        Item(item_id=name, item_type=kind, title=name, attributes={"stock": row % 3})
        for row, (name, kind) in enumerate(zip(items.item_ids, items.item_types, strict=True))
    ]
    await channels.catalogue([record(item, TOPICS.catalogue) for item in known])
    before = await written(bench, "ann", ["i0"])
    assert {row % 3 for row in before} != {1}
    await channels.policies.take([record(policy(1, {"filter": "item.stock = 1", "types": TYPES}))])
    first = await written(bench, "ann", ["i6"])
    assert {row % 3 for row in first} == {1}
    assert len(first) == 10
    gone, deleted = known[first[0]], known[first[1]]
    sold_out = Item(
        item_id=gone.item_id, item_type=gone.item_type, title="", attributes={"stock": 0}
    )
    taken_down = Item(item_id=deleted.item_id, item_type=deleted.item_type, deleted=True)
    earlier = record(deleted, TOPICS.catalogue)
    await channels.catalogue([record(one, TOPICS.catalogue) for one in (sold_out, taken_down)])
    await channels.catalogue([earlier])  # is read again
    after = await written(bench, "ann", ["i12"])
    assert not set(after) & set(first[:2])
    assert len(after) == 10
    await channels.catalogue([record(deleted, TOPICS.catalogue)])
    await channels.bring()
    assert first[1] in await written(bench, "ann", ["i12"])


async def test_what_leaves_while_a_list_is_made_is_not_in_it(bench, items: Items, monkeypatch):
    channels = bench.worker.channels
    known = [
        Item(item_id=name, item_type=kind, title=name, attributes={"stock": 1})
        for name, kind in zip(items.item_ids, items.item_types, strict=True)
    ]
    await channels.catalogue([record(item, TOPICS.catalogue) for item in known])
    await channels.policies.take([record(policy(1, {"filter": "item.stock = 1", "types": TYPES}))])
    first = await written(bench, "ann", ["i0"])
    made, entry = [], known[first[0]]
    recommend = bench.worker.models.recommend

    async def slow(users, *rest, **more):
        """Make lists; before they are written, an item of theirs is taken down or sold out."""
        found = await recommend(users, *rest, **more)
        made.append(len(users))
        if len(made) in (1, 3):
            await channels.catalogue([record(entry, TOPICS.catalogue)])
        return found

    monkeypatch.setattr(bench.worker.models, "recommend", slow)
    entry = structs.replace(known[first[0]], deleted=True)
    after = await written(bench, "ann", ["i6"])
    assert first[0] not in after
    assert len(after) == 10
    entry = structs.replace(known[after[0]], attributes={"stock": 0})
    assert after[0] not in await written(bench, "ann", ["i12"])
    # An item of no list changes nothing.
    assert made == [1, 1, 1, 1]
    made.clear()
    entry = Item(item_id="i999", item_type="podcast", attributes={"stock": 1})
    await written(bench, "ann", ["i18"])
    assert made == [1]


async def test_a_list_carries_its_reasons_where_its_settings_ask_for_them(
    bench, bundle: DynamicBundle, items: Items
):
    mix, plain = ListSettings(name="mix", k=5, explain=True), ListSettings(name="plain", k=5)
    bench.worker.close()
    bench.settings = replace(bench.settings, lists=(mix, plain))
    bench.worker = bench.new_worker("other")
    await serve(bench, bundle)
    rules = {"filter": "item.type = 'podcast'", "boost": [{"when": "true", "factor": 2}]}
    known = [
        Item(item_id=name, item_type=kind)
        for name, kind in zip(items.item_ids, items.item_types, strict=True)
    ]
    await bench.worker.channels.catalogue([record(item, TOPICS.catalogue) for item in known])
    await bench.worker.channels.policies.take([record(policy(1, rules, "mix"))])
    heard = [item.item_id for item in known if item.item_type == "podcast"][:2]
    found = {one.list: one for one in await lists_of(bench, "ann", heard)}
    explained = found["mix"]
    assert len(explained.items) == 5
    for item in explained.items:
        assert sum(item.why.parts.values()) == pytest.approx(item.score, abs=1e-3)
        assert [(rule.rule, rule.when) for rule in item.why.rules] == [("boost[0]", "true")]
        assert {near.item_id for near in item.why.nearest} == {*heard}
    podcasts = items.item_types.count("podcast")
    assert explained.filtered == FilteredItems(items=len(items.item_ids), left=podcasts)
    assert all(item.why is None for item in found["plain"].items)
    assert found["plain"].filtered is None


async def test_a_list_says_what_it_explores(bench, bundle: DynamicBundle, items: Items):
    mix, plain = ListSettings(name="mix", explain=True), ListSettings(name="plain")
    bench.worker.close()
    bench.settings = replace(bench.settings, lists=(mix, plain))
    bench.worker = bench.new_worker("other")
    await serve(bench, bundle)
    new = [
        Item(item_id=name, item_type=kind, published_at=bench.clock())
        for name, kind in zip(items.item_ids[100:], items.item_types[100:], strict=True)
    ]
    await bench.worker.channels.catalogue([record(item, TOPICS.catalogue) for item in new])
    rules = {"explore": {"share": 0.5}}
    await bench.worker.channels.policies.take([record(policy(1, rules, "mix"))])
    seen = set()
    for number in range(12):
        heard = [items.item_ids[(number + step) % 40] for step in range(3)]
        found = {one.list: one for one in await lists_of(bench, f"ann{number}", heard)}
        assert not found["plain"].explored
        for place in found["mix"].explored:
            assert place.position == 10
            assert 0 < place.propensity <= 1
            seen.add(place.new)
            item = found["mix"].items[9]
            if place.new:
                assert item.item_id in items.item_ids[100:]
            rules_of_item = {rule.rule: rule.propensity for rule in item.why.rules}
            assert rules_of_item == ({"explore": place.propensity} if place.new else {})
    assert True in seen


async def test_a_policy_reads_the_context_of_the_event_or_request(bench, items: Items):
    channels = bench.worker.channels
    await channels.catalogue(
        [
            record(Item(item_id=name, item_type=kind, attributes={"stock": row % 3}), "c")
            for row, (name, kind) in enumerate(zip(items.item_ids, items.item_types, strict=True))
        ]
    )
    rules = {"filter": "item.stock = 1 and request.surface = 'home'", "types": TYPES}
    await channels.policies.take([record(policy(1, rules))])
    assert await written(bench, "cyd", ["i0"]) == []
    at_home = Context(surface="home", device="tv")
    bench.clock.ms += 1_000
    event = Event(
        user_id="cyd", item_id="i6", item_type=items.item_types[6], kind="stream",
        timestamp=bench.clock.ms, context=at_home,
    )  # fmt: skip
    bench.log.append(TOPICS.events, event.key, encode(event))
    assert {row % 3 for row in await mixed(bench)} == {1}
    # The latest event says nothing of a place; a request does.
    assert await written(bench, "cyd", ["i12"]) == []
    request = Request(user_id="cyd", context=at_home)
    partition, _ = bench.log.append(TOPICS.requests, request.key, encode(request))
    await bench.worker.handle(bench.log.read(TOPICS.requests, partition, 0, 10))
    assert {row % 3 for row in await mixed(bench)} == {1}


async def mixed(bench):
    """Have the worker do what is due; returns the rows of the last mixed list of cyd."""
    await bench.drain()
    bench.clock.ms += 1_000
    await bench.worker.tick()
    lists = [
        decode(Recommendation, one.value)
        for n in range(TOPICS.partitions)
        for one in bench.log.read(TOPICS.recommendations, n, 0, 10_000)
    ]
    [*_, last] = [one for one in lists if (one.user_id, one.list) == ("cyd", "mix")]
    return [int(item.item_id[1:]) for item in last.items]


async def test_a_policy_reads_the_attributes_of_users(bench, items: Items):
    channels = bench.worker.channels
    await channels.catalogue(
        [
            record(Item(item_id=name, item_type=kind, attributes={"stock": row % 3}), "c")
            for row, (name, kind) in enumerate(zip(items.item_ids, items.item_types, strict=True))
        ]
    )
    rules = {
        "filter": "item.stock = user.stock", "types": TYPES | {"user.stock": "number"},
    }  # fmt: skip
    await channels.policies.take([record(policy(1, rules))])
    for stock in (1, 2):
        value = json.dumps({"user_id": "bob", "attributes": {"stock": stock}}).encode()
        bench.log.append(TOPICS.users, b"bob", value)
        assert {row % 3 for row in await written(bench, "bob", ["i0", "i6"])} == {stock}
    assert np.array(channels.policies.in_force.columns.names).size
