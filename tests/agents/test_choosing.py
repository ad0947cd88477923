"""A bundle that a person pins while the trainer prunes: kept, or the person hears that it goes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agents.bundles.announcements import leaving_bundles, newest_announcements
from agents.bundles.announcing import announce
from agents.bundles.choosing import TornBundle, UnknownBundle, choose
from agents.bundles.names import bundle_name
from agents.outputs import EmbeddedOutputs
from agents.training.publishing import FollowedBundles
from dynamic_layer import DynamicBundle
from state import ArtifactStore
from streams import EmbeddedLog, LeavingBundles, LogRecord, ModelAnnouncement, encode, topics
from streams.admin import create_topics
from tests.agents.worlds import NOW, TOPICS
from tests.console.worlds import make_bundles, small_items

OLD, NEXT_OLD, NEWEST = (bundle_name(n) for n in (1, 2, 3))
Step = Callable[[], Awaitable[object]]


@pytest.fixture(scope="module")
def bundle() -> DynamicBundle:
    [made, *_] = make_bundles(small_items(), 1)
    return made


@dataclass
class World:
    log: EmbeddedLog
    folder: Path
    bundle: DynamicBundle

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(str(self.folder / "artifacts"))

    async def models(self) -> list[LogRecord]:
        return self.log.read(TOPICS.models, 0, 0)

    async def append(self, key: bytes, value: bytes | None) -> None:
        await EmbeddedOutputs(self.log).send(TOPICS.models, key, value)

    async def publish(self, generation: int, *steps: Step) -> None:
        """Publish as a trainer that keeps two bundles; each step is just before it reads again."""
        waiting, followed = list(steps), FollowedBundles("default", self.models)

        async def wanted() -> set[str]:
            found = await followed.not_to_prune()
            if waiting:
                await waiting.pop(0)()
            return {name for name in found if name}

        manifest = self.bundle.manifest | {"generation": generation}
        await announce(
            replace(self.bundle, manifest=manifest), bundle_name(generation), {},
            store=self.store, scratch=self.folder / "made", outputs=EmbeddedOutputs(self.log),
            topics=TOPICS, now_ms=NOW, keep=2, wanted=wanted,
        )  # fmt: skip

    async def pin(self, name: str) -> None:
        def choice(name: str, generation: int) -> ModelAnnouncement:
            return ModelAnnouncement(
                kind="pinned", name=name, url="", generation=generation, created_at=NOW, metrics={}
            )

        scratch = self.folder / "tried"
        await choose(self.store, name, scratch, choice, self.models, self.append)

    async def pinned(self) -> str | None:
        said = newest_announcements(await self.models()).get("pinned")
        return said.name if said else None


@pytest.fixture
async def world(tmp_path, bundle):
    with EmbeddedLog(tmp_path / "log") as log:
        create_topics(log, topics(TOPICS))
        made = World(log, tmp_path, bundle)
        await made.publish(1)
        await made.publish(2)
        yield made


async def test_a_bundle_that_is_pinned_after_the_trainer_has_read_the_pins_stays(world):
    """The first reading finds no pin; the record comes just behind it."""
    await world.publish(3, lambda: world.pin(OLD))
    assert await world.pinned() == OLD
    assert world.store.names("dynamic") == [OLD, NEXT_OLD, NEWEST]
    assert leaving_bundles(await world.models()) == set()


async def test_a_bundle_that_the_trainer_has_decided_to_remove_cannot_be_pinned(world):
    refused = []

    async def nothing() -> None:
        pass

    async def pin_late() -> None:
        with pytest.raises(TornBundle, match=f"{OLD} is being removed") as raised:
            await world.pin(OLD)
        refused.append(str(raised.value))
        assert leaving_bundles(await world.models()) == {OLD}

    await world.pin(NEXT_OLD)
    await world.publish(3, nothing, pin_late)
    assert len(refused) == 1
    assert await world.pinned() == NEXT_OLD, "the choice before is in force again"
    assert world.store.names("dynamic") == [NEXT_OLD, NEWEST]
    assert leaving_bundles(await world.models()) == set()


async def test_a_bundle_that_is_gone_after_its_record_was_written_is_not_pinned(world):
    async def append(key: bytes, value: bytes | None) -> None:
        world.store.delete("dynamic", OLD)
        await real(key, value)

    real = world.append
    world.append = append
    with pytest.raises(TornBundle, match="is being removed"):
        await world.pin(OLD)
    assert await world.pinned() is None


async def test_a_bundle_that_is_missing_or_torn_is_refused_before_anything_is_written(world):
    before = len(await world.models())
    with pytest.raises(UnknownBundle, match="holds no dynamic bundle 'g9'; there are: g000000001"):
        await world.pin("g9")
    folder = world.folder / "artifacts/dynamic" / OLD
    [file, *_] = [path for path in folder.iterdir() if path.name != "manifest.json"]
    file.unlink()
    with pytest.raises(TornBundle, match=f"{OLD} is incomplete"):
        await world.pin(OLD)
    assert len(await world.models()) == before


async def test_another_pin_that_came_meanwhile_is_left_in_force(world):
    other = ModelAnnouncement(
        kind="pinned", name=NEXT_OLD, url="", generation=2, created_at=NOW, metrics={}
    )

    async def append(key: bytes, value: bytes | None) -> None:
        await real(key, value)
        await real(other.key, encode(other))

    real = world.append
    leaving = LeavingBundles(names=[OLD], created_at=NOW, channel="next")
    await world.append(leaving.key, encode(leaving))
    world.append = append
    with pytest.raises(TornBundle):
        await world.pin(OLD)
    assert await world.pinned() == NEXT_OLD
