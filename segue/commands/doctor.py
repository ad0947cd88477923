"""segue doctor: check the environment of Segue and name the fix of each fault."""

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from segue.options import ConfigOption, JsonOption, SetOption, settings_of
from segue.screen import console, marked

if TYPE_CHECKING:
    from segue.doctor import Finding

#: Least width of the column of names: findings of the machine are aligned with those of the broker.
_WIDTH = 11
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    as_json: JsonOption = False, config: ConfigOption = None, flags: SetOption = None
) -> None:
    """Check versions, disk, store, broker, topics, clocks and models; name the fix of each fault.

    Changes nothing. Exits with status 1 if a check fails; warnings alone exit with status 0.

    Examples: segue doctor

    segue doctor --json --config segue.toml
    """
    settings = settings_of(config, flags)
    from segue.doctor import check_machine
    from segue.doctor_kafka import check_kafka

    found = check_machine(settings)
    # Now: the broker may take seconds to answer, or to be given up.
    if not as_json:
        _show(found)
    of_kafka = asyncio.run(check_kafka(settings))
    found += of_kafka
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in found]))
    else:
        _show(of_kafka)
    raise typer.Exit(1 if any(finding.verdict == "fail" for finding in found) else 0)


def _show(found: list["Finding"]) -> None:
    width = max([_WIDTH, *(len(finding.check) for finding in found)])
    for finding in found:
        colour = _COLOURS[finding.verdict]
        console.print(
            marked(
                f"[{colour}]{{}}[/] {{}}  {{}}",
                f"{finding.verdict:<4}", f"{finding.check:<{width}}", finding.found,
            ),
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        if finding.fix:
            console.print(
                marked("{}[dim]fix:[/] {}", " " * (width + 7), finding.fix),
                highlight=False, soft_wrap=True,
            )  # fmt: skip
