"""`segue doctor`: check the environment of Segue on this machine; name the fix of each fault.

A check returns findings. It changes nothing, except for a probe file in the data folder and the
store. Roles use the same functions for their checks at start. `doctor_kafka` checks the broker.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from packaging.requirements import Requirement

from segue.folders import NotWritable, try_folders
from segue.settings import Settings

__all__ = ["Finding", "Verdict", "check_machine", "disk_finding", "fact", "version_findings"]

Verdict = Literal["ok", "warn", "fail"]

GIB = 2**30
#: Free bytes of the data folder's disk. RocksDB stops writing when a disk is full, and merging
#: rewrites a part of the state beside the old one: chosen as several times a small state.
FAIL_BYTES, WARN_BYTES = GIB, 10 * GIB


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check.

    check: its name. verdict: ok; warn (works now, but is likely to fail later); fail.
    found: the facts. fix: the remedy; empty for ok.
    """

    check: str
    verdict: Verdict
    found: str
    fix: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return asdict(self)


def fact(check: str, found: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(check=check, verdict="ok", found=found)


def check_machine(settings: Settings) -> list[Finding]:
    """Run the checks without a broker: versions, data folder, disk, artifact store, text model."""
    return [
        *version_findings(requires("segue") or (), _installed),
        *_folder(settings),
        _store(settings),
        _text_model(settings),
    ]


def version_findings(
    requirements: Iterable[str], installed: Callable[[str], str | None]
) -> list[Finding]:
    """Check that each required package is installed in a supported version.

    installed: name -> version, None if missing.
    """
    wrong, count = [], 0
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        found = installed(requirement.name)
        if found is None:
            wrong.append(f"{requirement.name} is not installed")
        elif not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if wrong:
        return [
            Finding(
                check="versions", verdict="fail", found="; ".join(wrong),
                fix="install Segue with its dependencies: pip install segue, or make setup",
            )
        ]  # fmt: skip
    own = installed("segue") or "unknown"
    return [fact("versions", f"segue {own}; {count} packages as required")]


def disk_finding(free: int, total: int, place: str) -> Finding:
    """Check the free space of a disk. free, total: bytes."""
    found = f"{free / GIB:,.1f} of {total / GIB:,.1f} GiB free at {place}"
    if free >= WARN_BYTES:
        return fact("disk", found)
    return Finding(
        check="disk", verdict="fail" if free < FAIL_BYTES else "warn", found=found,
        fix="free some space, or move `data` to a larger disk; docs/sizing.md gives the "
            "size of a state",
    )  # fmt: skip


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _folder(settings: Settings) -> list[Finding]:
    folder = settings.folder.resolve()
    try:
        try_folders(settings)
    except NotWritable as error:
        return [
            Finding(
                check="data folder", verdict="fail", found=str(error),
                fix="make this user the owner of the folder, or set `data`",
            )
        ]  # fmt: skip
    usage = shutil.disk_usage(folder)
    return [
        fact("data folder", f"{folder} can be written"),
        disk_finding(usage.free, usage.total, str(folder)),
    ]


def _store(settings: Settings) -> Finding:
    try:
        store = settings.store()
        store.require_writable()
    except Exception as error:  # each kind of store raises exceptions of its own
        where = settings.artifacts or str(settings.folder / "artifacts")
        return Finding(
            check="store", verdict="fail", found=f"{where}: {error!r}",
            fix="set `artifacts` to a reachable store that this user can write to",
        )  # fmt: skip
    return fact("store", f"{store.url} can be written")


def _text_model(settings: Settings) -> Finding:
    from static_layer import TextModelError
    from static_layer.text_model import resolve_model

    text = settings.static.text
    try:
        source = resolve_model(text.model, text.revision or None)
    except TextModelError as error:
        return Finding(
            check="text model", verdict="fail", found=str(error), fix="set `static.text.model`"
        )
    if source.on_hub:
        return Finding(
            check="text model", verdict="warn", found=f"{source.location}, from the hub",
            fix="this needs the network when the model is first used; a folder or `auto` does not",
        )  # fmt: skip
    return fact("text model", source.location)
