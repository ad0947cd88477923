"""Bundles into the artifact store and onto the models topic, and back out of the store."""

import asyncio
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from agents.bundles.names import of_channel
from agents.outputs import Outputs
from dynamic_layer import DynamicBundle
from state import ArtifactStore
from static_layer import StaticBundle
from streams import DEFAULT_CHANNEL, ModelAnnouncement, TopicSettings, encode

__all__ = ["announce", "described", "fetch_dynamic", "fetch_static"]


def fetch_static(store: ArtifactStore, name: str, scratch: Path) -> StaticBundle:
    """Return a static bundle of the store. Raises CorruptArtifact or BundleError."""
    with _emptied(scratch / name) as folder:
        return StaticBundle.load(store.fetch("static", name, folder))


def fetch_dynamic(store: ArtifactStore, name: str, scratch: Path) -> DynamicBundle:
    """Return a dynamic bundle of the store. Raises CorruptArtifact or CorruptBundle."""
    with _emptied(scratch / name) as folder:
        return DynamicBundle.load(store.fetch("dynamic", name, folder))


def described(name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people are told of a bundle, by its manifest in the store, as JSON values."""
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
    wanted: Collection[str] = (),
    channel: str = DEFAULT_CHANNEL,
    published: bool = False,
) -> None:
    """Publish a bundle in the artifact store, say so on the models topic, prune old ones.

    wanted: bundles that stay, however old they are: some channel serves them, or may soon.
    channel: to which a dynamic bundle is announced; only its own old bundles are pruned.
    published: whoever made the bundle has put it into the store already.
    """
    kind: Literal["static", "dynamic"] = "static" if isinstance(bundle, StaticBundle) else "dynamic"
    if not published:
        with _emptied(scratch / name) as folder:
            folder.mkdir(parents=True)
            await asyncio.to_thread(bundle.save, folder)
            await asyncio.to_thread(store.publish, kind, name, folder)
    record = ModelAnnouncement(
        kind=kind, name=name, url=store.url, generation=bundle.generation,
        created_at=now_ms, metrics=metrics, channel=channel,
    )  # fmt: skip
    await outputs.send(topics.models, record.key, encode(record))
    await outputs.flush()
    names = store.names(kind)
    for old in (names if kind == "static" else of_channel(names, channel))[:-keep]:
        if old not in wanted:
            store.delete(kind, old)
