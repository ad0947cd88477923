"""States, checkpoints, bundles, log and settings of earlier versions are read."""

import asyncio
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from segue.demo.embedded_runtime import embedded_runtime
from segue.demo.one_process_steps import ask
from segue.settings import load_settings
from state import compile_kernels
from tests.versions.keep import KEPT, facts
from tests.waiting import until

ARCHIVES = sorted(KEPT.glob("*.tar.xz"))


@pytest.fixture(params=ARCHIVES, ids=lambda file: file.name.removesuffix(".tar.xz"))
def kept(request, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def settings_of(folder: Path):
    return replace(load_settings(folder / "segue.toml", {}), data=str(folder))


def known(folder: Path):
    return json.loads((folder / "facts.json").read_text())


def end_of_roles(runtime):
    """For `ended`: raises the error that ended a role."""
    return lambda: runtime.check() or ""


async def opened(settings, expected):
    """What all roles find, without a record more."""
    async with embedded_runtime(settings, "kept") as runtime:
        found = await facts(runtime, list(expected["histories"]))
        await until(lambda: runtime.serves(1), "the kept bundle", ended=end_of_roles(runtime))
        person = next(user for user, rows in expected["histories"].items() if len(rows) > 5)
        lists = await ask(runtime, [person])
    return found, next(iter(lists[person].values()))


def test_versions_are_kept():
    assert ARCHIVES


@pytest.mark.parametrize("lost", ["nothing", "states"])
def test_states_answers_and_bundles_of_an_earlier_version_are_read(kept, lost):
    """Local states, and those that are restored from checkpoints and the log after them."""
    compile_kernels()
    settings, expected = settings_of(kept), known(kept)
    if lost == "states":
        shutil.rmtree(kept / "workers")
    found, answer = asyncio.run(opened(settings, expected))
    assert found["histories"] == expected["histories"]
    for before, now in zip(expected["answers"], found["answers"], strict=True):
        assert before.items() <= now.items()
    assert found["dead_letters"] == expected["dead_letters"]
    assert answer.generation == 1
    assert answer.items


def test_the_trainer_continues_from_its_checkpoint(kept, caplog):
    compile_kernels()
    settings = settings_of(kept)

    async def learn():
        async with embedded_runtime(settings, "kept") as runtime:
            await runtime.learn()
            unread = runtime.roles.unread
            await until(
                lambda: unread(settings.topics.examples) == 0,
                "the trainer to read all examples",
                ended=end_of_roles(runtime),
            )

    with caplog.at_level("INFO"):
        asyncio.run(learn())
    assert "continuing from checkpoint" in caplog.text
