"""segue models on a real broker: what it says is what workers serve."""

import asyncio
import json
import uuid
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from agents.bundles.announcements import newest_announcements
from segue.cli import app
from segue.settings import write_settings
from state import compile_kernels
from streams import KafkaSettings, create_topics, read_from, topics
from tests.console.worlds import make_bundles, make_world, small_items

pytestmark = pytest.mark.integration


def test_bundles_are_listed_pinned_rolled_back_and_promoted(broker, tmp_path):
    compile_kernels()
    items = small_items()
    world = make_world(tmp_path, items, make_bundles(items))
    world.log.close()
    kafka = KafkaSettings(bootstrap_servers=broker)
    names = replace(world.settings.topics, prefix=f"models-{uuid.uuid4().hex[:8]}")
    settings = replace(world.settings, kafka=kafka, topics=names)
    create_topics(kafka, topics(names))
    write_settings(settings, tmp_path / "segue.toml")
    store = settings.store()
    first, second = (f"g{bundle.generation:09d}" for bundle in world.bundles)
    for bundle, name in zip(world.bundles, (first, second), strict=True):
        (made := tmp_path / "made" / name).mkdir(parents=True)
        bundle.save(made)
        store.publish("dynamic", name, made)

    def models(*words, status=0):
        config = ["--config", str(tmp_path / "segue.toml")]
        found = CliRunner().invoke(app, ["models", *words, "--json", *config])
        assert found.exit_code == status, found.output
        return found.stderr if status else json.loads(found.stdout)

    def announced():
        return newest_announcements(asyncio.run(read_from(settings.kafka, names.models)))

    # Nothing was announced yet: nothing is served, and there is nothing to go back from.
    assert [(row["name"], row["served"]) for row in models("list")] == [
        (second, False),
        (first, False),
    ]
    assert "no bundle is served yet" in models("rollback", status=1)

    assert models("promote", second)["promoted"] == second
    assert announced()["dynamic"].name == second
    assert "generations only grow" in models("promote", first, status=1)

    assert models("rollback") == {"from": second, "pinned": first, "generation": 1}
    assert announced()["pinned"].name == first
    assert [(row["served"], row["pinned"]) for row in models("list")] == [
        (False, False),
        (True, True),
    ]
    assert "no complete bundle before" in models("rollback", status=1)
    assert models("unpin") == {"pinned": None, "newest": second}
    assert announced()["pinned"] is None

    shown = models("show", first)
    assert shown["manifest"]["generation"] == shown["generation"] == 1

    # A torn bundle and one that is not there are refused before anybody is told.
    torn = next(
        found for found in tmp_path.rglob(f"{first}/*.safetensors") if "made" not in str(found)
    )
    torn.write_bytes(torn.read_bytes()[:-1])
    assert "is incomplete" in models("pin", first, status=1)
    assert "no complete bundle before" in models("rollback", status=1)
    assert "there are:" in models("pin", "g999999999", status=1)
    assert announced()["pinned"] is None
