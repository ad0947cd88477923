"""Publishes bundles to the artifact store and the models topic, and fetches them."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aiokafka.errors import KafkaError

from agents.bundles.names import of_channel
from agents.outputs import Outputs
from agents.patience import BRIEFLY, Pause, patiently
from dynamic_layer import DynamicBundle
from state import ArtifactStore
from static_layer import StaticBundle
from streams import DEFAULT_CHANNEL, AdminError, ModelAnnouncement, TopicSettings, encode

__all__ = ["announce", "described", "fetch_dynamic", "fetch_static"]

logger = logging.getLogger(__name__)


def fetch_static(store: ArtifactStore, name: str, scratch: Path) -> StaticBundle:
    """Return a static bundle of the store. Raises CorruptArtifact or BundleError."""
    with _emptied(scratch / name) as folder:
        return StaticBundle.load(store.fetch("static", name, folder))


def fetch_dynamic(store: ArtifactStore, name: str, scratch: Path) -> DynamicBundle:
    """Return a dynamic bundle of the store. Raises CorruptArtifact or CorruptBundle."""
    with _emptied(scratch / name) as folder:
        return DynamicBundle.load(store.fetch("dynamic", name, folder))


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
    them, or will soon. If that cannot be said, nothing is pruned.
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
        stay = () if wanted is None else await wanted()
        await asyncio.to_thread(_prune, store, kind, channel, keep, stay)
    except (AdminError, KafkaError, OSError) as error:
        logger.warning("old bundles stay until the next one is published: %s", error)


def _prune(
    store: ArtifactStore, kind: str, channel: str, keep: int, wanted: Collection[str]
) -> None:
    names = store.names(kind)
    for old in (names if kind == "static" else of_channel(names, channel))[:-keep]:
        if old not in wanted:
            store.delete(kind, old)
