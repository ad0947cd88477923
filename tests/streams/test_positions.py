"""Where reading may go on: what a store needs, held against what the log has."""

import pytest

from streams import EmbeddedLog, Held, LogChanged, PositionError, TopicDefinition, TopicIdentity
from streams.positions import check_identity


def start(held, position, **options):
    told = []
    return held.start(position, lambda *what: told.append(what), **options), told


HELD = Held(topic="events", partition=3, first=100, end=200)


@pytest.mark.parametrize("accept_gap", [False, True])
@pytest.mark.parametrize("position", [100, 150, 200])
def test_a_position_that_the_log_holds_is_where_reading_goes_on(position, accept_gap):
    assert start(HELD, position, accept_gap=accept_gap) == (position, [])


def test_a_store_that_begins_late_is_told_so():
    assert start(HELD, None) == (100, [("events", 3, 100)])
    whole = Held(topic="events", partition=3, first=0, end=200)
    assert start(whole, None) == (0, [])


def test_records_that_are_gone_are_refused_with_the_ways_out():
    with pytest.raises(PositionError) as error:
        start(HELD, 40)
    for said in (
        "events/3",
        "offset 40",
        "offset 100",
        "60 records (40 to 99)",
        "copy",
        "--accept-gap",
    ):
        assert said in str(error.value)
    assert start(HELD, 40, accept_gap=True) == (100, [("events", 3, 100)])


@pytest.mark.parametrize("accept_gap", [False, True])
def test_a_store_ahead_of_its_log_is_refused_always(accept_gap):
    with pytest.raises(PositionError, match="offset 201, but the partition ends at offset 200"):
        start(HELD, 201, accept_gap=accept_gap)


def topic(id_: str, partitions: int) -> TopicIdentity:
    return TopicIdentity(topic="events", id=id_, partitions=partitions)


@pytest.mark.parametrize(
    ("made", "found", "another"),
    [
        (None, topic("b", 2), None), (topic("a", 2), topic("a", 2), None),
        (topic("", 2), topic("b", 2), None), (topic("a", 2), topic("", 2), None),
        (topic("a", 0), topic("a", 2), None), (topic("a", 2), topic("b", 2), True),
        (topic("a", 2), topic("b", 3), True), (topic("b", 2), topic("a", 2), True),
        (topic("a", 2), topic("a", 3), False), (topic("a", 3), topic("a", 2), False),
        (topic("", 1), topic("a", 2), False),
    ],
)  # fmt: skip
def test_a_state_goes_on_with_the_topic_that_it_was_made_from(made, found, another):
    """another: whether another topic is found; None where reading goes on."""
    if another is None:
        check_identity(made, found, 3)
        return
    with pytest.raises(LogChanged, match="events/3") as error:
        check_identity(made, found, 3)
    assert error.value.another_topic is another


def test_the_embedded_log_says_what_it_holds_and_where_a_time_is(tmp_path):
    clock = [0]
    with EmbeddedLog(tmp_path, clock=lambda: clock[0], segment_bytes=100) as log:
        log.create_topic(TopicDefinition(name="t", partitions=1))
        for clock[0] in (10, 20, 20, 20, 30, 50):
            log.append("t", b"k", b"x" * 60)
        at = [log.offset_at("t", 0, time) for time in (0, 10, 11, 20, 21, 50, 51)]
        assert at == [0, 0, 1, 1, 4, 5, 6]
        assert Held.by_embedded(log, "t", 0) == Held(topic="t", partition=0, first=0, end=6)
    segments = sorted((tmp_path / "t" / "0").glob("*.log"))
    segments[0].unlink()
    with EmbeddedLog(tmp_path) as log:
        first = log.first_offset("t", 0)
        assert 0 < first == int(segments[1].stem)
        assert log.offset_at("t", 0, 0) == first
