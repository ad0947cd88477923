"""The ages that a crash run judges are the silences of partitions."""

from prometheus_client import CollectorRegistry, generate_latest

from agents.working.tally import Tally
from tests.crash.watch import AgeWatch


def shown(**latest):
    """What a worker shows when it applied the last records of partitions at these times."""
    tally = Tally(CollectorRegistry())
    for partition, at in latest.items():
        tally.opened(int(partition[1:]), int(at * 1000))
    return generate_latest(tally.registry).decode()


def watch_from(now, partitions):
    watch = AgeWatch(None, partitions)
    watch._latest = dict.fromkeys(range(partitions), now)
    return watch


def test_an_age_is_that_of_the_freshest_worker():
    watch = watch_from(100.0, 2)
    watch.note(103.0, [shown(p0=102.0, p1=101.0), shown(p0=90.0)])
    assert watch.ages == [1.0, 2.0]


def test_a_partition_that_nobody_shows_grows_older():
    watch = watch_from(100.0, 1)
    for now in (101.0, 105.0, 109.0):
        watch.note(now, [""])
    watch.note(110.0, [shown(p0=109.5)])
    assert watch.ages == [1.0, 5.0, 9.0, 0.5]
    assert watch.greatest == 9.0


def test_a_partition_that_was_closed_is_shown_no_longer():
    tally = Tally(CollectorRegistry())
    tally.opened(3, 5_000)
    assert 'partition="3"' in generate_latest(tally.registry).decode()
    tally.closed(3)
    tally.closed(3)
    assert 'partition="3"' not in generate_latest(tally.registry).decode()
