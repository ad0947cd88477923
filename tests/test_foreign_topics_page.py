"""The settings on the page about foreign topics load, and read the records that it shows."""

import json
import re
from pathlib import Path

import pytest

from segue.settings import Settings, load_settings
from streams import Record, event_decoder

PAGE = (Path(__file__).parents[1] / "docs" / "foreign-topics.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
NOW = 1_767_225_700_000


@pytest.fixture
def load(tmp_path):
    def load(*texts: str) -> Settings:
        file = tmp_path / "segue.toml"
        file.write_text("\n".join(texts))
        return load_settings(file)

    return load


def test_every_example_loads_alone_and_all_of_them_together(load):
    topics = [load(example).sources[0].topic for example in EXAMPLES]
    assert topics == ["player.activity", "orders.lines", "web.clicks"]
    assert [source.topic for source in load(*EXAMPLES).sources] == topics


def test_the_record_shown_is_the_event_that_its_settings_say(load):
    value = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0].encode()
    settings = load(EXAMPLES[0])
    record = Record("player.activity", 0, 0, NOW, b"81234", value)
    events, letters = event_decoder(settings.sources[0], settings.events)([record])
    assert letters == []
    assert (events.user_id, events.item_type) == (["81234"], ["podcast"])
    assert (events.item_id, events.kind) == (["6rqhFg"], ["stream"])
    assert events.timestamp.tolist() == [1_767_225_600_250]


def test_the_unkeyed_example_reads_a_field_with_a_dot_in_its_name(load):
    settings = load(EXAMPLES[2])
    click = {"visitor": "v", "item.id": "p1", "section": "posts", "event": "save", "ts": NOW}
    record = Record("web.clicks", 0, 0, NOW, None, json.dumps(click).encode())
    events, letters = event_decoder(settings.sources[0], settings.events)([record])
    assert letters == []
    assert (events.item_id, events.item_type, events.kind) == (["p1"], ["post"], ["follow"])


def test_the_avro_example_names_both_places_of_schemas(load):
    avro = load(EXAMPLES[1]).sources[0].avro
    assert (avro.schemas, avro.registry_user) == ("deploy/schemas", "segue")
