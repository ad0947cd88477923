"""`segue backup` and `segue restore` copy what is whole in the artifact store."""

import shutil

import pytest

from state import ArtifactStore, Checkpoints
from tests.segue.test_replay_and_state import PARTITIONS, World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "data").make()
    for name in ("001", "002"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "vectors").write_bytes(name.encode())
        made.settings.store().publish("static", name, folder)
    made.settings.store().put_bytes(b"[]", "quality/prequential/2026-01-01.jsonl")
    return made


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_lost_store_comes_back_and_a_worker_restores_from_it(world, tmp_path):
    found = world.json("backup", str(tmp_path / "copy"))
    assert sorted(found["checkpoints"]) == [str(n) for n in range(PARTITIONS)]
    assert found["bundles"] == ["static/001", "static/002"]
    assert (found["figures"], found["broken"]) == (1, [])
    store = world.folder / "artifacts"
    before = files(store)
    shutil.rmtree(store)
    world.segue("restore", str(tmp_path / "copy"))
    # Only files of older checkpoints may be missing.
    assert files(store).items() <= before.items()
    assert world.json("state", "diff", "checkpoint", "checkpoint")["equal"]
    assert world.settings.store().names("static") == ["001", "002"]
    assert "quality/prequential/2026-01-01.jsonl" in files(store)


def test_a_broken_checkpoint_and_a_broken_bundle_are_not_copied(world, tmp_path):
    store = world.settings.store()
    checkpoints = Checkpoints(store)
    [newest] = checkpoints.names(0)
    files_of = checkpoints.manifest(0, newest).files
    # The checkpoint before it: the same files under another name, and whole.
    content = store.read_bytes(f"checkpoints/00000/{newest}.json")
    older = f"{0:020d}{newest[20:]}"
    store.put_bytes(content, f"checkpoints/00000/{older}.json")
    store.put_bytes(b"{}", f"checkpoints/00000/{newest}.json")
    store.put_bytes(b"other", "static/002/vectors")
    found = world.json("backup", str(tmp_path / "copy"))
    assert found["checkpoints"]["0"] == older
    assert found["bundles"] == ["static/001"]
    assert "static/002" in found["broken"][0]
    copy = ArtifactStore(str(tmp_path / "copy"))
    assert Checkpoints(copy).manifest(0, older).files == files_of


def test_nothing_is_overwritten_and_an_empty_source_is_named(world, tmp_path):
    world.segue("backup", str(tmp_path / "copy"))
    again = world.segue("backup", str(tmp_path / "copy"), status=1)
    assert "holds checkpoints already" in again.output
    refused = world.segue("restore", str(tmp_path / "copy"), status=1)
    assert "holds checkpoints already" in refused.output
    shutil.rmtree(world.folder / "artifacts")
    nothing = world.segue("restore", str(tmp_path / "nowhere"), status=1)
    assert "holds no checkpoint and no bundle" in nothing.output
    assert "Traceback" not in nothing.output
