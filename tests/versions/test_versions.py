"""States, checkpoints, bundles, log, settings and policies of earlier versions are read."""

import asyncio
import json
import shutil
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from agents.policy_text import PolicyFile
from agents.policy_versions import AttributeTypes, checked, fault_of
from dynamic_layer import EVERY_LIST, PolicyError, rules_of
from segue.demo.embedded_runtime import embedded_runtime
from segue.demo.one_process_steps import ask
from segue.settings import load_settings
from state import compile_kernels
from streams import ListPolicy, encode
from tests.versions.keep import KEPT, facts
from tests.waiting import until

ARCHIVES = sorted(KEPT.glob("*.tar.xz"))
#: Values of policy records that an earlier version accepted and wrote, one a line; some with
#: constant parts that have no value, such as `1 / 0`, which later versions refuse when written.
POLICIES = sorted(KEPT.glob("policies-*.jsonl"))


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


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_policies_that_an_earlier_version_accepted_stay_in_force(kept, file, caplog):
    compile_kernels()
    settings, expected = settings_of(kept), known(kept)
    values = file.read_bytes().splitlines()
    stored = [msgspec.json.decode(value, type=ListPolicy) for value in values]
    person = next(user for user, rows in expected["histories"].items() if len(rows) > 5)
    zero = next(one.rules for one in stored if one.list == "zero-filter")
    every = ListPolicy(list=EVERY_LIST, version=1, author="ann", created_at=1, rules=zero)

    async def served():
        async with embedded_runtime(settings, "kept") as runtime:
            for said in [*stored, every]:
                await runtime.append(settings.topics.policies, said.key, encode(said))
            book = runtime.worker.channels.policies
            await until(
                lambda: len(book.versions) == len(stored) + 1 or book.refused,
                "the policies to be read", ended=end_of_roles(runtime),
            )  # fmt: skip
            await until(lambda: runtime.serves(1), "the kept bundle", ended=end_of_roles(runtime))
            return book, (await ask(runtime, [person]))[person]

    with caplog.at_level("WARNING"):
        book, lists = asyncio.run(served())
    assert book.refused == 0
    assert set(book.versions) == {one.list for one in stored} | {EVERY_LIST}
    # Items of the kept world have no stock: the part that divides by zero is NULL, the rest holds.
    assert all(answer.items for answer in lists.values())
    assert all(fault_of(one) is None for one in stored)
    for one in stored:
        reported = (
            f"the policy of {one.list} stays in force, but a part of it is NULL" in caplog.text
        )
        assert reported == (one.list != "all")


def test_policies_with_parts_without_a_value_are_refused_when_they_are_written():
    [file, *_] = POLICIES
    for value in file.read_bytes().splitlines():
        said = msgspec.json.decode(value, type=ListPolicy)
        policy = PolicyFile(list_name=said.list, rules=rules_of(said.rules))
        with nullcontext() if said.list == "all" else pytest.raises(PolicyError, match="line 1"):
            checked(policy, AttributeTypes())
