"""Folders and a store that may not be written: one line and status 2 before anything else."""

import errno
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segue import folders
from segue.cli import app
from state import ArtifactStore

ROLES = {
    "worker": ["worker", "--name", "w"],
    "trainer": ["trainer", "--name", "t"],
    "static": ["static", "build"],
    "schedule": ["static", "schedule", "--every", "1h"],
    "console": ["console", "--name", "c"],
}
OWN = {"worker": "workers/w", "trainer": "trainers/t", "static": "static", "console": "consoles/c"}


class ReachedKafka(Exception):
    """A role went beyond its folders."""


@pytest.fixture(autouse=True)
def no_kafka(monkeypatch):
    def reached(*_: object) -> None:
        raise ReachedKafka

    monkeypatch.setattr("segue.rights.require_rights_of", reached)


@pytest.fixture
def of_another_user(monkeypatch):
    """Paths to which this user may not write, though it may be root."""
    paths: set[Path] = set()

    def is_below(path: object) -> bool:
        found = Path(os.fspath(path))
        return any(found == one or one in found.parents for one in paths)

    access, open_file, mkdir = os.access, os.open, os.mkdir

    def refuse(path: object) -> None:
        if is_below(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    def no_access(path, mode, **kwargs):
        return not is_below(path) and access(path, mode, **kwargs)

    def no_open(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse(path)
        return open_file(path, flags, *args, **kwargs)

    def no_mkdir(path, *args, **kwargs):
        if not Path(path).exists():
            refuse(path)
        return mkdir(path, *args, **kwargs)

    monkeypatch.setattr(os, "access", no_access)
    monkeypatch.setattr(os, "open", no_open)
    monkeypatch.setattr(os, "mkdir", no_mkdir)
    return paths


def run(tmp_path, role, *more):
    flags = ["--set", f"data={tmp_path / 'var'}", *more]
    return CliRunner().invoke(app, [*ROLES[role], *flags])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("place", ["var", "var/{own}", "artifacts", "cache"])
def test_a_role_that_may_not_write_ends_with_one_line_and_status_2(
    tmp_path, of_another_user, monkeypatch, role, place
):
    if role in ("trainer", "console") and place == "cache":
        pytest.skip("it has no text cache")
    if role == "console" and place == "artifacts":
        pytest.skip("it only reads the store")
    own = OWN["static" if role == "schedule" else role]
    refused = tmp_path / place.format(own=own)
    (tmp_path / "var" / own).mkdir(parents=True)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "cache").mkdir()
    of_another_user.add(refused)
    if place == "artifacts":
        refuse_writes(monkeypatch)
    result = run(
        tmp_path, role, "--set", f"artifacts={tmp_path / 'artifacts'}",
        "--set", f"static.text.cache={tmp_path / 'cache' / 'vectors.db'}",
    )  # fmt: skip
    assert result.exit_code == 2, result.output
    assert str(refused) in result.output.replace("\n", "")
    assert "Traceback" not in result.output


def refuse_writes(monkeypatch):
    def refuse(self) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.root)

    monkeypatch.setattr(ArtifactStore, "require_writable", refuse)


@pytest.mark.parametrize("inner", ["state/00000", "state/00000/000009.sst", "bundles"])
def test_a_part_of_the_folder_that_belongs_to_another_user_is_named(
    tmp_path, of_another_user, inner
):
    place = tmp_path / "var/workers/w" / inner
    place.parent.mkdir(parents=True)
    if "." in inner:
        place.write_bytes(b"")
    else:
        place.mkdir()
    of_another_user.add(place)
    result = run(tmp_path, "worker")
    assert result.exit_code == 2
    assert str(place) in result.output.replace("\n", "")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_may_write_goes_on_to_kafka_and_leaves_no_file(tmp_path, role):
    result = run(tmp_path, role)
    assert isinstance(result.exception, ReachedKafka)
    assert not [path for path in (tmp_path / "var").rglob("*") if path.is_file()]


def test_a_store_that_is_away_is_no_reason_to_end(tmp_path, monkeypatch):
    def away(self) -> None:
        raise ConnectionError("the network is down")

    monkeypatch.setattr(ArtifactStore, "require_writable", away)
    assert isinstance(run(tmp_path, "worker").exception, ReachedKafka)


def test_a_folder_below_a_file_is_named(tmp_path):
    (tmp_path / "var").write_text("")
    result = run(tmp_path, "worker")
    assert result.exit_code == 2
    assert "Not a directory" in result.output.replace("\n", " ") or "File exists" in result.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_by_the_system_itself(tmp_path):
    """As in the image, whose user is 10001."""
    var = tmp_path / "var"
    (var / "workers" / "w").mkdir(parents=True)
    for folder in (var, var / "workers", *tmp_path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):  # noqa: S108
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setuid(10_001)
        try:
            with folders._named(var):
                folders._try_folder(var)
        except folders.NotWritable:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
