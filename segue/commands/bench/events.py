"""segue bench throughput, growth, recovery, latency, api, profile: costs of events and requests."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from segue.commands.bench.app import app
from segue.options import explained
from segue.screen import console


@app.command(epilog="Example: segue bench throughput --jobs segue --events 200000 --repeat 1")
def throughput(
    events: Annotated[
        list[int] | None, typer.Option(help="Events for Segue; repeat for more rows.")
    ] = None,
    peer_events: Annotated[
        int,
        typer.Option(
            min=1, help="Events for the peers: those of the first users in the same data."
        ),
    ] = 200_000,
    faust_events: Annotated[
        int,
        typer.Option(min=1, help="Events for Faust: those of the first users in the same data."),
    ] = 10_000,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds; a row shows the median.")] = 3,
    jobs: Annotated[
        str,
        typer.Option(
            help="segue, segue-librdkafka, drain (the limit), pathway, quix-streams, "
            "kafka-streams, kafka-streams-changelog, faust; without it all."
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=1, help="2: also measure two workers on two cores.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the events.")] = 1,
    timeout: Annotated[float, typer.Option(help="Maximum time of one run, in seconds.")] = 300.0,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-throughput.json"
    ),
) -> None:
    """Records in the topic to committed state, per second, on one core: Segue, peers and limit.

    Uses the broker of KAFKA_BOOTSTRAP_SERVERS, or starts one (Java 17 and Maven) and stops it.
    """
    from benchmarks.throughput import BenchError, Plan, run, show, write
    from streams import AdminError, BulkWriteError
    from streams.distribution import BrokerError

    # Ended like by Ctrl-C, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with explained(ValueError, BenchError, BrokerError, AdminError, BulkWriteError):
        plan = Plan(
            jobs=tuple(name.strip() for name in jobs.split(",") if name.strip()) or Plan.jobs,
            events=tuple(events or Plan.events),
            peer_events=peer_events,
            faust_events=faust_events,
            repeat=repeat,
            workers=workers,
            seed=seed,
            timeout_s=timeout,
            broker=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"),
        )
        report = run(plan, json_file.parent)
    write(report, json_file)
    show(report)
    console.print(f"figures: {json_file}")
    if report["failed"]:
        raise typer.Exit(1)


@app.command(epilog="Example: segue bench growth --events 100000 --events 1000000")
def growth(
    events: Annotated[
        list[int] | None, typer.Option(help="Events in the state; repeat for more rows.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Runs per row; the row shows the median.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the events.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-growth.json"
    ),
) -> None:
    """Cost per event and size of state at 10^5, 10^6 and 10^7 events, without Kafka."""
    from benchmarks.growth import run, show

    show(run(events or [100_000, 1_000_000, 10_000_000], seed, repeat, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench impressions --days 6 --repeat 1")
def impressions(
    users: Annotated[int, typer.Option(min=1, help="Users of the partition.")] = 2_000,
    lists: Annotated[int, typer.Option(min=1, help="Lists of ten items shown per event.")] = 3,
    days: Annotated[int, typer.Option(min=3, help="Days of events; two per user and day.")] = 30,
    repeat: Annotated[int, typer.Option(min=1, help="Runs.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the events.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-impressions.json"
    ),
) -> None:
    """Cost of impressions: applying, reading and committing what users were shown."""
    from benchmarks.impressions import run, show

    show(run(users, lists, days, repeat, seed, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench recovery --events 200000 --repeat 1")
def recovery(
    events: Annotated[int, typer.Option(min=1, help="Events in the state.")] = 1_000_000,
    repeat: Annotated[int, typer.Option(min=1, help="Kills per kind.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the events.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-recovery.json"
    ),
    standby: Annotated[
        bool, typer.Option("--standby", help="Of two workers that follow each other's partitions.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, help="Events per second, with --standby.")] = 500,
) -> None:
    """Recovery time of a killed worker: with its disk and with an empty one, or with a standby."""
    if standby:
        from benchmarks import failover

        failover.show(failover.run(events, repeat, rate, seed, json_file))
        console.print(f"figures: {json_file}")
        return
    from benchmarks.recovery import run, show

    show(run(events, repeat, seed, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench latency --seconds 60 --no-head")
def latency(
    rate: Annotated[int, typer.Option(min=1, help="Events per second.")] = 2_000,
    seconds: Annotated[float, typer.Option(help="Length of the measurement.")] = 120.0,
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users who send events.")] = 20_000,
    swap: Annotated[float, typer.Option(help="Seconds between bundles.")] = 30.0,
    workers: Annotated[int, typer.Option(min=1, help="Workers that share the partitions.")] = 2,
    head: Annotated[bool, typer.Option(help="Rank by a ranking head.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of events and vectors.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-latency.json"
    ),
) -> None:
    """Latency from event to recommendation: percentiles measured by an external consumer.

    Uses the broker of KAFKA_BOOTSTRAP_SERVERS, or starts one (Java 17 and Maven) and stops it.
    """
    from benchmarks.latency import LatencyPlan, run, show
    from streams import AdminError
    from streams.distribution import BrokerError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = LatencyPlan(
        rate=rate, seconds=seconds, items=items, users=users, swap_s=swap, workers=workers,
        head=head, seed=seed,
    )  # fmt: skip
    with explained(ValueError, RuntimeError, BrokerError, AdminError):
        report = run(plan, json_file)
    show(report)
    console.print(f"figures: {json_file}")


@app.command(epilog="Example: segue bench api --rate 500 --seconds 20")
def api(
    items: Annotated[int, typer.Option(min=1, help="Items in the index.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users with a history.")] = 5_000,
    rate: Annotated[
        list[int] | None, typer.Option(help="Requests per second; repeat for more rows.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds per rate.")] = 20.0,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds over all rates.")] = 3,
    head: Annotated[bool, typer.Option(help="Rank the lists with a ranking head.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of items, users and request times.")] = 1,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/bench-api.json"
    ),
) -> None:
    """Lists over HTTP from a console on one core: latency at given rates, and errors."""
    from benchmarks.api import ApiPlan, run, show

    plan = ApiPlan(
        items=items, users=users, rates=tuple(rate or ApiPlan.rates), seconds=seconds,
        rounds=repeat, head=head, seed=seed,
    )  # fmt: skip
    show(run(plan, json_file))
    console.print(f"figures: {json_file}")


@app.command(epilog="Examples: segue bench profile, segue bench profile ingest api")
def profile(
    roles: Annotated[
        list[str] | None,
        typer.Argument(help="ingest, answers, api, trainer, static. [all]", show_default=False),
    ] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Output file for the figures.")] = Path(
        "var/profile.json"
    ),
    page: Annotated[
        Path | None, typer.Option(help="Also write the tables as a page in Markdown.")
    ] = None,
) -> None:
    """Where the processor time of each role goes: shares by part, and a flame graph of each role.

    Runs a benchmark of each role under py-spy (pip install py-spy), which needs root or
    kernel.yama.ptrace_scope 0. The flame graphs are SVG files beside the figures.
    """
    from benchmarks.roles_profile import ROLES, ProfileError, page_of, run, show

    # Ended like by Ctrl-C, so that nothing is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with explained(ProfileError):
        report = run(roles or [*ROLES], json_file)
    show(report)
    console.print(f"figures: {json_file}")
    if page is not None:
        page.write_text(page_of(report))
        console.print(f"page: {page}")
