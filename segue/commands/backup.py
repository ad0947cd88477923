"""segue backup, segue restore: copies of the artifact store."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segue.options import ConfigOption, JsonOption, SetOption, explained, settings_of
from segue.screen import console, errors, marked, progress_bars

if TYPE_CHECKING:
    from state import ArtifactStore


def backup(
    to: Annotated[str, typer.Argument(help="Folder or fsspec URL, e.g. s3://backups/today.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Copy the newest checkpoint of each partition, all bundles and the quality figures.

    Every file is verified when it is read. The roles may run. Events, catalogue, users and policies
    are in Kafka, and are not part of it. A backup still holds users who are erased later.

    Example: segue backup s3://backups/2026-11-28
    """
    settings = settings_of(config, flags)
    from state import ArtifactStore

    _copy(settings.store(), ArtifactStore(to), as_json=as_json)


def restore(
    source: Annotated[str, typer.Argument(help="Folder or URL that `segue backup` wrote.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
    flags: SetOption = None,
) -> None:
    """Copy a backup into an empty artifact store, before the roles start.

    A worker without a local state restores its partitions from there and reads the log from then
    on. Bundles are served as soon as the roles read their announcements from Kafka.

    Example: segue restore s3://backups/2026-11-28
    """
    settings = settings_of(config, flags)
    from state import ArtifactStore

    _copy(ArtifactStore(source), settings.store(), as_json=as_json)


def _copy(source: "ArtifactStore", target: "ArtifactStore", *, as_json: bool) -> None:
    from segue.store_backup import StoreNotEmpty, copy_store
    from state import CorruptArtifact, StoreUnavailable

    with (
        explained(CorruptArtifact, OSError, StoreNotEmpty, StoreUnavailable),
        TemporaryDirectory(prefix="segue-backup-") as scratch,
        progress_bars(errors if as_json else console) as bars,
    ):
        tasks: dict[str, Any] = {}

        def progress(what: str, done: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None, note="")
            bars.update(tasks[what], completed=done)

        copied = copy_store(source, target, Path(scratch) / "artifact", progress)
    if as_json:
        typer.echo(json.dumps(asdict(copied)))
        return
    for line in copied.broken:
        errors.print(marked("[yellow]left out:[/] {}", line), highlight=False)
    console.print(
        marked(
            "{} checkpoints, {} bundles and {} files of figures in {} ({} bytes)",
            f"{len(copied.checkpoints):,}", f"{len(copied.bundles):,}", f"{copied.figures:,}",
            target.url, f"{copied.bytes:,}",
        )
    )  # fmt: skip
