"""List bundles, show the served one, and choose another one by records."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

from agents.bundles.announcements import newest_announcements
from agents.bundles.announcing import described
from agents.bundles.choosing import TornBundle, UnknownBundle, choose
from agents.bundles.names import channel_of, earlier
from agents.outputs import ProducerOutputs
from segue.settings import Settings
from state import CorruptArtifact
from streams import DEFAULT_CHANNEL, ModelAnnouncement, announcement_key, read_from
from streams.log_record import now_ms

__all__ = ["BundleChoiceError", "bundles", "one_bundle", "pin", "promote", "rollback", "unpin"]

Kind = Literal["dynamic", "static"]
Announced = dict[str, ModelAnnouncement | None]


class BundleChoiceError(ValueError):
    """A bundle cannot be chosen: it is missing, incomplete or unsuitable for the request."""


async def bundles(
    settings: Settings, kind: Kind = "dynamic", channel: str = DEFAULT_CHANNEL
) -> list[dict[str, Any]]:
    """Return the bundles of a kind in the artifact store as JSON values, newest first.

    `served`: the bundle that workers of the channel are told to serve.
    `channel`: the channel of the trainer that made the bundle.
    Raises AdminError, KafkaError.
    """
    announced = await _announced(settings, channel)
    return await asyncio.to_thread(_bundles, settings, kind, announced)


async def one_bundle(
    settings: Settings, name: str, kind: Kind = "dynamic", channel: str = DEFAULT_CHANNEL
) -> dict[str, Any]:
    """Return one bundle with its whole manifest. Raises BundleChoiceError."""
    for found in await bundles(settings, kind, channel):
        if found["name"] == name:
            try:
                manifest = settings.store().manifest(kind, name)
            except CorruptArtifact as error:
                raise BundleChoiceError(f"{name}: {error}") from error
            return found | {"manifest": manifest}
    raise BundleChoiceError(_unknown(settings, name, kind))


async def pin(settings: Settings, name: str, channel: str = DEFAULT_CHANNEL) -> ModelAnnouncement:
    """Pin a bundle (of any channel) on a channel: workers serve it until `unpin`.

    See `choose`. Raises BundleChoiceError, AdminError, KafkaError.
    """
    return await _choose(settings, "pinned", name, channel)


async def unpin(settings: Settings, channel: str = DEFAULT_CHANNEL) -> str | None:
    """Serve the trainer's newest bundle again; returns its name, None if there is none."""
    async with ProducerOutputs(settings.kafka) as outputs:
        await outputs.send(settings.topics.models, announcement_key("pinned", channel), None)
        await outputs.flush()
    newest = (await _announced(settings, channel)).get("dynamic")
    return newest.name if newest else None


async def rollback(
    settings: Settings, channel: str = DEFAULT_CHANNEL
) -> tuple[str, ModelAnnouncement]:
    """Pin the complete bundle before the served one; returns the names of both.

    Both bundles are of the same trainer. Raises BundleChoiceError if there is no earlier bundle.
    """
    served = _served(await _announced(settings, channel))
    if served is None:
        raise BundleChoiceError(f"no bundle is served yet{_on(channel)}")
    for name in earlier(settings.store().names("dynamic"), served):
        try:
            return served, await pin(settings, name, channel)
        except BundleChoiceError:
            continue  # torn: the one before it
    raise BundleChoiceError(
        f"there is no complete bundle before {served}: `trainer.keep_bundles` of them are kept"
    )


async def promote(
    settings: Settings, name: str, channel: str = DEFAULT_CHANNEL
) -> ModelAnnouncement:
    """Announce a bundle as the newest, until the trainer publishes the next; removes a pin.

    For bundles in the store that are not announced. Raises BundleChoiceError for a bundle that is
    older than the newest announced one, because generations only grow, and for a bundle of another
    channel's trainer: use `pin` for these.
    """
    if channel_of(name) != channel:
        raise BundleChoiceError(
            f"{name} was made on channel {channel_of(name)}, and each channel numbers its "
            f"own generations: `segue models pin {name} --channel {channel}` serves it "
            f"until it is unpinned"
        )
    newest = (await _announced(settings, channel)).get("dynamic")
    if newest is not None and name in earlier([name], newest.name):
        raise BundleChoiceError(
            f"{name} is older than {newest.name}, and generations only grow: `segue models pin"
            f" {name}` serves it until it is unpinned"
        )
    said = await _choose(settings, "dynamic", name, channel)
    await unpin(settings, channel)
    return said


async def _announced(settings: Settings, channel: str) -> Announced:
    return newest_announcements(await read_from(settings.kafka, settings.topics.models), channel)


def _on(channel: str) -> str:
    return "" if channel == DEFAULT_CHANNEL else f" on channel {channel}"


def _served(announced: Announced) -> str | None:
    found = announced.get("pinned") or announced.get("dynamic")
    return found.name if found else None


def _bundles(settings: Settings, kind: Kind, announced: Announced) -> list[dict[str, Any]]:
    store = settings.store()
    current = announced.get("static")
    served = _served(announced) if kind == "dynamic" else current.name if current else None
    pinned = announced.get("pinned")
    rows: list[dict[str, Any]] = []
    for name in store.names(kind)[::-1]:
        try:
            row = described(name, store.manifest(kind, name))
        except CorruptArtifact as error:
            row = {"name": name, "generation": None, "problem": str(error)}
        of_it = kind == "dynamic" and pinned is not None and name == pinned.name
        rows.append(
            row
            | ({"channel": channel_of(name)} if kind == "dynamic" else {})
            | {"served": name == served, "pinned": of_it}
        )
    return rows


def _unknown(settings: Settings, name: str, kind: Kind) -> str:
    there = ", ".join(settings.store().names(kind)) or "none"
    return f"the artifact store holds no {kind} bundle {name!r}; there are: {there}"


async def _choose(
    settings: Settings, kind: Literal["dynamic", "pinned"], name: str, channel: str
) -> ModelAnnouncement:
    """Announce a complete bundle. Raises BundleChoiceError."""
    store, topic = settings.store(), settings.topics.models

    def choice(name: str, generation: int) -> ModelAnnouncement:
        return ModelAnnouncement(
            kind=kind, name=name, url=store.url, generation=generation,
            created_at=now_ms(), metrics={}, channel=channel,
        )  # fmt: skip

    async def chosen(outputs: ProducerOutputs, scratch: str) -> ModelAnnouncement:
        async def append(key: bytes, value: bytes | None) -> None:
            await outputs.send(topic, key, value)
            await outputs.flush()

        read = partial(read_from, settings.kafka, topic)
        said, _ = await choose(store, name, Path(scratch), choice, read, append)
        return said

    with tempfile.TemporaryDirectory() as scratch:
        async with ProducerOutputs(settings.kafka) as outputs:
            try:
                return await chosen(outputs, scratch)
            except (UnknownBundle, TornBundle) as error:
                raise BundleChoiceError(str(error)) from error
