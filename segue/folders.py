"""Checks that a role can write to its folders before it starts."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.options import explained
from segue.settings import Settings
from state import ArtifactStore
from streams import DEFAULT_CHANNEL

__all__ = [
    "NotWritable",
    "folder_of",
    "require_folders_of",
    "text_cache",
    "text_models",
    "trainer_name",
]

logger = logging.getLogger(__name__)

#: Errors that no later attempt changes, unlike those of a store that is away.
_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)


class NotWritable(Exception):
    """This user cannot write to a folder or to the artifact store; the message names it."""


def folder_of(settings: Settings, role: str, name: str) -> Path:
    """Folder of a process's local files. role: workers, trainers or consoles."""
    return settings.folder / role / name


def trainer_name(settings: Settings, name: str) -> str:
    """Name of a trainer's folder; a channel other than the default follows after a dot."""
    channel = settings.trainer.channel
    return name if channel == DEFAULT_CHANNEL else f"{name}.{channel}"


def text_cache(settings: Settings) -> Path:
    """File of the text vectors: from the settings, or else in the data folder."""
    return Path(settings.static.text.cache or settings.folder / "text-vectors.db")


def text_models(settings: Settings) -> Path:
    """Folder of what is made of the text model: named by the settings, or in the data folder."""
    return Path(settings.static.text.compiled or settings.folder / "text-models")


def _texts(settings: Settings) -> list[Path]:
    return [text_cache(settings), text_models(settings)]


def _worker(settings: Settings, name: str) -> list[Path]:
    return [folder_of(settings, "workers", name), *_texts(settings)]


def _trainer(settings: Settings, name: str) -> list[Path]:
    return [folder_of(settings, "trainers", trainer_name(settings, name))]


def _static(settings: Settings, _name: str) -> list[Path]:
    return [settings.folder / "static", *_texts(settings)]


def _console(settings: Settings, name: str) -> list[Path]:
    return [folder_of(settings, "consoles", name), text_models(settings)]


#: Role -> folders and files that it writes to beside the data folder, and whether to the store.
_WRITES: dict[str, tuple[Callable[[Settings, str], list[Path]], bool]] = {
    "worker": (_worker, True),
    "trainer": (_trainer, True),
    "static": (_static, True),
    "console": (_console, False),
}


def require_folders_of(role: str, settings: Settings, name: str = "") -> None:
    """Exit with status 2 and one line if the user cannot write to the role's folders.

    An unreachable store does not end the command: roles wait for it.
    """
    places, stores = _WRITES[role]
    with explained(NotWritable, status=2):
        _try_folder(settings.folder)
        for place in places(settings, name):
            if place == text_cache(settings):
                _try_folder(place.parent)
                _try_existing(place)
            else:
                _try_folder(place)
                _try_tree(place)
        if stores:
            _try_store(settings)


def try_folders(settings: Settings) -> None:
    """Raise NotWritable if this user cannot write to the data folder or the text cache."""
    _try_folder(settings.folder)
    cache = text_cache(settings)
    _try_folder(cache.parent)
    _try_existing(cache)


def _try_folder(folder: Path) -> None:
    """Create a folder, and a file in it."""
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _try_tree(folder: Path, *, files: bool = True) -> None:
    """Check the existing content of a folder: some of it may belong to another user."""
    for place, folders, found in os.walk(folder):
        for name in (*folders, *(found if files else ())):
            _try_existing(Path(place) / name)


def _try_existing(path: Path) -> None:
    needed = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
    if path.exists() and not os.access(path, needed):
        raise NotWritable(_message(path, os.strerror(errno.EACCES)))


def _try_store(settings: Settings) -> None:
    try:
        store = settings.store()
        store.require_writable()
    except (ImportError, ValueError) as error:
        raise NotWritable(f"artifacts: {error}") from error
    except Exception as error:  # each kind of store raises exceptions of its own
        if getattr(error, "errno", None) in _RIGHTS or isinstance(error, PermissionError):
            raise NotWritable(_message(settings.store().url, str(error))) from error
        logger.warning("the artifact store does not answer; retrying: %r", error)
        return
    if _is_folder(store):
        _try_tree(Path(store.root), files=False)


def _is_folder(store: ArtifactStore) -> bool:
    return "file" in store.files.protocol


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritable(_message(folder, error.strerror or str(error))) from error


def _message(place: Path | str, reason: str) -> str:
    return (
        f"cannot write to {place}: {reason}. Expected a location that user {os.getuid()} may write "
        "to; give it to this user, or change `data`, `artifacts`, `static.text.cache` or "
        "`static.text.compiled`"
    )
