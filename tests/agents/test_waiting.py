"""Users wait in the order of their news, each once in an interval."""

from hypothesis import given
from hypothesis import strategies as st

from agents.working.waiting import TouchedUsers, Waiting


def touched(users, offset=0, partition=0):
    return TouchedUsers(
        topic="events",
        partition=partition,
        user_id=users,
        offset=list(range(offset, offset + len(users))),
        event_timestamp=[0] * len(users),
    )


def names(due):
    return [t.user_id for t in due]


def test_the_newest_news_come_first_and_each_user_once():
    waiting = Waiting(100, 500)
    waiting.add(touched(["a", "b", "c"]))
    waiting.add(touched(["a"], offset=3))
    assert len(waiting) == 3
    due = waiting.due(0, 10)
    assert names(due) == ["a", "c", "b"]
    assert [t.offset for t in due] == [3, 2, 1]
    assert waiting.due(10_000, 10) == []


def test_a_user_with_more_news_waits_for_the_interval():
    waiting = Waiting(100, 500)
    waiting.add(touched(["a", "b"]))
    assert names(waiting.due(0, 1)) == ["b"]
    waiting.add(touched(["b", "c"], offset=2))
    assert names(waiting.due(100, 10)) == ["c", "a"]
    assert names(waiting.due(499, 10)) == []
    assert names(waiting.due(500, 10)) == ["b"]


def test_users_of_revoked_partitions_are_forgotten():
    waiting = Waiting(100, 500)
    waiting.add(touched(["a"], partition=0))
    waiting.add(touched(["b"], partition=1))
    waiting.forget([0])
    assert names(waiting.due(0, 10)) == ["b"]


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=5), max_size=12),
    st.integers(1, 6),
)
def test_of_too_many_the_longest_waiting_go(batches, most):
    waiting = Waiting(most, 0)
    order = []
    for at, users in enumerate(batches):
        waiting.add(touched(users, offset=10 * at))
        order = [user for user in order if user not in users] + users
    found = waiting.due(0, 100)
    # Between two clean-ups more may wait, never fewer, and always those with the newest news.
    assert names(found) == order[::-1][: len(found)]
    assert len(found) >= min(most, len(order))
    latest = {}
    for at, users in enumerate(batches):
        latest |= {user: 10 * at + place for place, user in enumerate(users)}
    assert all(t.offset == latest[t.user_id] for t in found)


def test_half_of_a_full_round_is_for_those_who_wait_longest():
    waiting = Waiting(100, 500, fair_ms=1_000)
    for at, user in enumerate("abcdefgh"):
        waiting.add(touched([user], offset=at), now=100 * at)
    waiting.add(touched(["b"], offset=8), now=800)
    assert names(waiting.due(900, 4)) == ["a", "b", "h", "g"]
    waiting.add(touched(["b"], offset=9), now=1_000)
    # b was answered a moment ago; c waits longest now.
    assert names(waiting.due(1_100, 2)) == ["c", "f"]
    assert names(waiting.due(1_200, 5)) == ["e", "d"], "a round that holds all has no need of it"
    assert names(waiting.due(1_400, 5)) == ["b"]
    assert len(waiting) == 0


def test_who_waits_longer_than_is_fair_lets_the_newest_pass():
    waiting = Waiting(100, 0, fair_ms=1_000)
    for at, user in enumerate("abcd"):
        waiting.add(touched([user], offset=at), now=100 * at)
    assert names(waiting.due(1_001, 2)) == ["d", "c"]
    waiting.add(touched(["a"], offset=4), now=1_000)
    waiting.add(touched(["e"], offset=5), now=1_000)
    assert names(waiting.due(1_100, 2)) == ["a", "e"], "his latest news count"


def batch_of(first: int, *users: str, partition: int = 0) -> TouchedUsers:
    return TouchedUsers(
        topic="events", partition=partition, user_id=users,
        offset=range(first, first + len(users)), event_timestamp=[0] * len(users), first=first,
    )  # fmt: skip


def test_the_first_batch_with_somebody_who_waits_is_where_reading_must_go_on():
    waiting = Waiting(100, 0)
    assert waiting.first("events", 0) is None
    waiting.add(batch_of(0, "ann", "bob"))
    waiting.add(batch_of(2, "ann"))
    waiting.add(batch_of(0, "cid", partition=1))
    assert (waiting.first("events", 0), waiting.first("events", 1)) == (0, 0)
    assert [t.user_id for t in waiting.due(1, 2)] == ["cid", "ann"]
    assert (waiting.first("events", 0), waiting.first("events", 1)) == (0, None), (
        "bob waits since the first batch"
    )
    waiting.add(batch_of(3, "bob"))
    assert waiting.first("events", 0) == 3, "the newer batch has him too"
    waiting.forget([0])
    assert waiting.first("events", 0) is None


def test_who_has_waited_for_more_records_than_the_backlog_is_not_read_again():
    waiting = Waiting(100, 0, backlog=10)
    for first in range(40):
        waiting.add(batch_of(first, f"user-{first}"))
    assert waiting.first("events", 0) == 29


def test_whoever_has_waited_too_long_is_dropped_unless_there_was_newer_news():
    waiting = Waiting(100, 0)
    waiting.add(touched(["a", "b"]), now=1_000)
    waiting.add(touched(["c"], offset=2), now=5_000)
    waiting.add(touched(["b"], offset=3), now=6_000)
    assert waiting.shed_older(1_000) == 0
    assert waiting.shed_older(6_000) == 2
    assert waiting.shed == 2
    assert names(waiting.due(7_000, 10)) == ["b"]
    assert waiting.shed_older(10_000) == 0, "who was answered is not dropped"
