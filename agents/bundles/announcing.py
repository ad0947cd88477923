"""Publishes bundles to the artifact store and the models topic, and fetches them."""

import asyncio
import logging
import shutil
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from aiokafka.errors import KafkaError

from agents.bundles.names import of_channel
from agents.outputs import Outputs
from agents.patience import BRIEFLY, Pause, patiently
from dynamic_layer import DynamicBundle, unchanged_files
from state import ArtifactStore
from static_layer import StaticBundle
from streams import (
    DEFAULT_CHANNEL,
    AdminError,
    LeavingBundles,
    ModelAnnouncement,
    TopicSettings,
    encode,
)

__all__ = ["announce", "described", "fetch_dynamic", "fetch_static"]

logger = logging.getLogger(__name__)


def fetch_static(store: ArtifactStore, name: str, scratch: Path) -> StaticBundle:
    """Return a static bundle of the store. Raises CorruptArtifact or BundleError."""
    with _emptied(scratch / name) as folder:
        return StaticBundle.load(store.fetch("static", name, folder))


def fetch_dynamic(
    store: ArtifactStore, name: str, scratch: Path, before: DynamicBundle | None = None
) -> DynamicBundle:
    """Return a dynamic bundle of the store. Raises CorruptArtifact or CorruptBundle.

    before: a bundle that was fetched. What did not change since is not downloaded: it is shared.
    """
    with _emptied(scratch / name) as folder:
        held = partial(unchanged_files, before={} if before is None else before.manifest)
        return DynamicBundle.load(store.fetch("dynamic", name, folder, held), before)


def described(name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a bundle from its manifest in the store, as JSON values."""
    return {
        "name": name,
        "generation": int(manifest["generation"]),
        "created_at": manifest.get("created_at"),
        "metrics": manifest.get("metrics", {}),
        "bytes": sum(int(file["bytes"]) for file in manifest["files"].values()),
    }


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """Yield a path at which nothing lies, and nothing will."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def announce(
    bundle: DynamicBundle | StaticBundle,
    name: str,
    metrics: dict[str, float],
    *,
    store: ArtifactStore,
    scratch: Path,
    outputs: Outputs,
    topics: TopicSettings,
    now_ms: int,
    keep: int,
    wanted: Callable[[], Awaitable[Collection[str]]] | None = None,
    channel: str = DEFAULT_CHANNEL,
    published: bool = False,
    pause: Pause = asyncio.sleep,
) -> None:
    """Publish a bundle in the artifact store, announce it on the models topic, prune old ones.

    Raises OSError if the store fails for some seconds; then nothing is announced.

    wanted: asked when the bundle is announced, for bundles that are not pruned: a channel serves
    them, or will soon. If that cannot be said, nothing is pruned. It is asked once more after the
    announcement of what leaves, so that a bundle that is being pinned stays (see `choosing`).
    channel: to which a dynamic bundle is announced; only its own old bundles are pruned.
    published: the bundle is in the store already.
    """
    kind: Literal["static", "dynamic"] = "static" if isinstance(bundle, StaticBundle) else "dynamic"
    if not published:
        with _emptied(scratch / name) as folder:
            folder.mkdir(parents=True)
            await asyncio.to_thread(bundle.save, folder)
            await patiently(
                lambda: store.publish(kind, name, folder), f"publishing {name}", BRIEFLY, pause
            )
    record = ModelAnnouncement(
        kind=kind, name=name, url=store.url, generation=bundle.generation,
        created_at=now_ms, metrics=metrics, channel=channel,
    )  # fmt: skip
    await outputs.send(topics.models, record.key, encode(record))
    await outputs.flush()
    try:
        names = await asyncio.to_thread(store.names, kind)
        old = (names if kind == "static" else of_channel(names, channel))[:-keep]
        if wanted is None:
            await asyncio.to_thread(_delete, store, kind, old)
        else:
            leaving = _Leaving(outputs, topics.models, channel, now_ms)
            await _prune_unwanted(store, old, wanted, leaving)
    except (AdminError, KafkaError, OSError) as error:
        logger.warning("old bundles stay until the next one is published: %s", error)


@dataclass(frozen=True)
class _Leaving:
    """Announces which bundles of a channel leave the store."""

    outputs: Outputs
    topic: str
    channel: str
    now_ms: int

    async def say(self, names: Sequence[str]) -> None:
        """Announce that bundles leave; none ends the announcement."""
        said = LeavingBundles(names=list(names), created_at=self.now_ms, channel=self.channel)
        await self.outputs.send(self.topic, said.key, encode(said) if names else None)
        await self.outputs.flush()


async def _prune_unwanted(
    store: ArtifactStore,
    old: Iterable[str],
    wanted: Callable[[], Awaitable[Collection[str]]],
    leaving: _Leaving,
) -> None:
    stay = await wanted()
    names = [name for name in old if name not in stay]
    if not names:
        return
    await leaving.say(names)
    stay = await wanted()
    await asyncio.to_thread(_delete, store, "dynamic", [n for n in names if n not in stay])
    await leaving.say([])


def _delete(store: ArtifactStore, kind: str, names: Iterable[str]) -> None:
    for name in names:
        store.delete(kind, name)
