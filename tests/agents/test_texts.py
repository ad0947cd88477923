"""Queries as items: in histories at once, in the catalogue once enough users typed them."""

from dataclasses import replace

import pytest

from segue.settings import Settings, SettingsError, load_settings, write_settings
from state import Checkpoints, StateSettings, item_key, merge_checkpoints
from static_layer import GraphSettings, build_graph, catalogue_texts
from streams import EventRules, Item, encode
from tests.agents.worlds import TOPICS, bench

RULES = EventRules(text_types=("query",))
STATE = StateSettings(delta_room=1 << 12, text_types=("query",), text_users=3)
USERS = [f"user-{n}" for n in range(8)]


async def merged(b, state=STATE):
    """What the static job reads of a bench's worker."""
    await b.drain()
    await b.worker.checkpoint()
    return merge_checkpoints(Checkpoints(b.worker.partitions._checkpoints.store), state)


def queries(found):
    texts = found.catalogue.filter(found.catalogue["item_type"] == "query")
    return sorted(texts["item_id"].to_list())


async def test_a_query_is_an_item_once_enough_users_typed_it_however_they_wrote_it(tmp_path):
    with bench(tmp_path, rules=RULES) as b:
        await b.worker.assigned(b.keyed)
        b.log.append(
            TOPICS.catalogue, b"podcast\0p", encode(Item(item_id="p", item_type="podcast"))
        )
        for number, user in enumerate(USERS):
            b.listen(user, "p")
            written = ("Running  Shoes", " running shoes ", "RUNNING SHOES")[number % 3]
            b.listen(user, written, item_type="query")
        b.listen("user-0", *["my own street 5"] * 9, item_type="query")
        b.listen("user-1", "my own street 5", item_type="query")
        for user in USERS:
            b.listen(user, "weak signals", item_type="query", kind="follow")
        found = await merged(b)
        assert queries(found) == ["running shoes"]
        assert queries(await merged(b, replace(STATE, text_users=2))) == [
            "my own street 5", "running shoes"
        ]  # fmt: skip
        assert queries(await merged(b, replace(STATE, text_types=()))) == []
        texts, own = catalogue_texts(found.catalogue)
        assert ("running shoes" in texts, own.sum()) == (True, 1)
        graph = build_graph(found.co_interactions, found.catalogue, GraphSettings())
        assert graph.edge_counts["podcast-query"] == 1
        assert graph.users.tolist() == [8, 8]

        # Histories hold them all, whoever else typed them.
        state = next(s for s in b.worker.partitions.states.values() if len(s.history("user-0")))
        texts = ("running shoes", "my own street 5", "weak signals")
        known = {item_key("query", text) for text in texts}
        assert set(state.history("user-0").item_keys.tolist()) == known | {item_key("podcast", "p")}


async def test_erased_users_and_those_who_left_the_window_do_not_count(tmp_path):
    with bench(tmp_path, rules=RULES) as b:
        await b.worker.assigned(b.keyed)
        for user in USERS[:4]:
            b.listen(user, "one", "two", item_type="query")
        assert queries(await merged(b)) == ["one", "two"]
        for user in USERS[:2]:
            b.log.append(TOPICS.events, user.encode(), None)
        assert queries(await merged(b)) == []
        b.listen("user-5", "one", item_type="query")
        assert queries(await merged(b)) == ["one"]
        b.clock.ms += 90 * 86_400_000
        b.listen("user-6", "one", item_type="query")
        assert queries(await merged(b)) == []


async def test_an_entry_of_the_catalogue_makes_a_text_an_item_whoever_typed_it(tmp_path):
    with bench(tmp_path, rules=RULES) as b:
        await b.worker.assigned(b.keyed)
        entry = Item(item_id="chosen", item_type="query", title="Chosen by us")
        b.log.append(TOPICS.catalogue, entry.key, encode(entry))
        for user in USERS:
            b.listen(user, "chosen", item_type="query")
        found = await merged(b)
        assert queries(found) == ["chosen"]
        assert found.catalogue["title"].to_list() == ["Chosen by us"]


def test_the_types_are_set_once_and_known_where_they_are_needed(tmp_path):
    settings = load_settings(None, {}, ["events.text_types=query,tag", "state.text_users=7"])
    assert settings.state.text_types == ("query", "tag")
    assert settings.state.text_users == 7
    assert settings.state.fingerprint() == Settings().state.fingerprint()
    write_settings(settings, tmp_path / "segue.toml")
    assert load_settings(tmp_path / "segue.toml") == settings
    with pytest.raises(SettingsError, match=r"set them there alone"):
        load_settings(None, {}, ["state.text_types=query"])
    with pytest.raises(SettingsError, match="at least 1"):
        load_settings(None, {}, ["state.text_users=0"])
