"""A copy of an open database is of one moment."""

import shutil

import pytest

from tests.state.killed import copy_as_killed


@pytest.mark.parametrize("change", ["goes before it is copied", "goes", "grows", "comes"])
def test_a_copy_is_made_again_while_files_change(tmp_path, monkeypatch, change):
    folder, left = tmp_path / "open", tmp_path / "left"
    folder.mkdir()
    (folder / "CURRENT").write_text("MANIFEST-2")
    (folder / "MANIFEST-1").write_text("old")
    copied, copies = shutil.copy2, []

    def copy(source, target, **options):
        copies.append(source)
        if len(copies) == 1 and change == "goes before it is copied":
            (folder / "MANIFEST-1").unlink()
            (folder / "CURRENT").touch()
        copied(source, target, **options)
        if len(copies) == 1 and change == "goes":
            (folder / "MANIFEST-1").unlink()
        if len(copies) == 1 and change == "grows":
            (folder / "MANIFEST-1").write_text("old and new")
        if len(copies) == 1 and change == "comes":
            (folder / "MANIFEST-2").write_text("new")

    whole = shutil.copytree
    monkeypatch.setattr(shutil, "copytree", lambda a, b: whole(a, b, copy_function=copy))
    copy_as_killed(folder, left)
    assert {file.name: file.read_text() for file in left.iterdir()} == {
        file.name: file.read_text() for file in folder.iterdir()
    }
    assert len(copies) > 2
