"""Keeps what this version writes, for the tests of later versions.

Run it from the commit whose formats are to be kept:

    python -m tests.versions.keep 2026-11-28

It runs a small world through all roles on the embedded log and writes an archive of the log, the
states, the checkpoints, the bundles, the trainer's checkpoint and the settings.
"""

import asyncio
import io
import json
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from segue.demo.embedded_runtime import EmbeddedRuntime, embedded_runtime
from segue.demo.first_look import Budget, first_look, try_settings
from segue.demo.material import Material, simulated
from segue.demo.steps import applied
from segue.erasing import erase_user
from segue.screen import progress_bars
from segue.settings import Settings, load_settings, write_settings
from segue.showing import history_rows
from simulation import WorldSettings
from state import compile_kernels
from streams import EmbeddedLog, Event, Recommendation, encode, murmur2_partition, readable

KEPT = Path(__file__).parent / "kept"
END_MS = 1_790_000_000_000
WORLD = WorldSettings(
    items=48, users=32, events=2_000, reserve=4, markets=("US", "GB"), market_shares=(0.7, 0.3),
    end_ms=END_MS,
)  # fmt: skip
#: Not kept: what is made again, and takes most of the space.
LEFT_OUT = ("text-models", "text-vectors", "scratch", "lock", "LOCK", "LOG")


def small_settings(folder: Path, material: Material) -> Settings:
    """Settings whose models take little space."""
    plain = load_settings(environment={})
    dynamic, static = plain.dynamic, plain.static
    small = replace(
        plain,
        data=str(folder),
        topics=replace(plain.topics, partitions=2),
        static=replace(static, hgnn=replace(static.hgnn, hidden=8, output=8, structure=8)),
        dynamic=replace(
            dynamic,
            towers=replace(dynamic.towers, layers=(16, 8)),
            popularity=replace(dynamic.popularity, min_examples=8),
            replay=replace(dynamic.replay, capacity=2_048, entries=16_384, holdout_size=256),
            ranking=replace(dynamic.ranking, min_lists=16),
        ),
    )
    return try_settings(small, material, Budget())


async def run(settings: Settings, material: Material) -> dict[str, Any]:
    """Feed the world; returns what a later version has to find in it."""
    users = sorted(set(material.events["user_id"].to_list()))
    with progress_bars() as bars:
        async with embedded_runtime(settings, "kept") as runtime:
            await first_look(runtime, material, Budget(), bars)
        with EmbeddedLog(settings.folder / "embedded-log") as log:
            await erase_user(settings, users[0], 0.0, log)
        async with embedded_runtime(settings, "kept") as runtime:
            key, unknown = users[1].encode(), material.item_types[0]
            event = Event(user_id=users[1], item_type=unknown, item_id="unknown", kind="stream",
                          timestamp=END_MS)  # fmt: skip
            for value in (b"no event", encode(event)):
                await runtime.append(settings.topics.events, key, value)
            await applied(runtime, bars, "apply the last records")
            return await facts(runtime, users)


async def facts(runtime: EmbeddedRuntime, users: list[str]) -> dict[str, Any]:
    """Histories of all users, and the answers that the log holds."""
    topics = runtime.settings.topics
    histories = {}
    for user in users:
        partition = murmur2_partition(user.encode(), topics.partitions)
        state = runtime.worker.partitions[partition]
        histories[user] = history_rows(state, user, lambda *_: None, 1_000)
    answers = readable(Recommendation, await runtime.read(topics.recommendations, {}))
    return {
        "histories": histories,
        "answers": [msgspec.to_builtins(answer) for _, answer in answers],
        "dead_letters": len(await runtime.read(topics.dead_letters, {})),
    }


def pack(folder: Path, file: Path) -> None:
    """Write a folder's files in the order of their names, without owners and times."""
    with tarfile.open(file, "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith(LEFT_OUT) and not any(
                part.startswith(LEFT_OUT) for part in path.relative_to(folder).parts
            ):  # fmt: skip
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))


def main(name: str) -> None:
    """Write `kept/<name>.tar.xz`."""
    compile_kernels()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "segue"
        material = simulated(WORLD, seed=1, test_days=0, live_rate=0, live_seconds=0)
        settings = small_settings(folder, material)
        found = asyncio.run(run(settings, material))
        write_settings(replace(settings, data="."), folder / "segue.toml")
        (folder / "facts.json").write_text(json.dumps(found, indent=1))
        KEPT.mkdir(exist_ok=True)
        pack(folder, KEPT / f"{name}.tar.xz")


if __name__ == "__main__":
    main(sys.argv[1])
