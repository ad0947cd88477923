"""Users wait in the order of their news, each once in an interval."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.working.waiting import TouchedUsers, Waiting
from streams import Context


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


class Defined:
    """What `Waiting` does, one user at a time and without a limit of users."""

    def __init__(self, every_ms, backlog, fair_ms):
        self.every_ms, self.backlog, self.fair_ms = every_ms, backlog, fair_ms
        self.reason, self.order, self.answered = {}, [], {}
        self.batches, self.shed = [], 0

    def add(self, partition, users, first, now, context):
        last = {}
        for at, user in enumerate(users):
            last.pop(user, None)
            last[user] = first + at
        for user, offset in last.items():
            self.reason[user] = (partition, offset, now, context.get(offset))
        self.order += last
        if last:
            self.batches.append((partition, first, max(last.values()), list(last)))

    def first(self, partition):
        mine = [batch for batch in self.batches if batch[0] == partition]
        newest = mine[-1][1] if mine else 0
        for _, first, last, users in mine:
            if last >= newest - self.backlog and any(
                self.reason.get(user, (None,))[0] == partition
                and first <= self.reason[user][1] <= last
                for user in users
            ):
                return first
        return None

    def answerable(self, now):
        self.answered = {u: at for u, at in self.answered.items() if at > now - self.every_ms}
        return self.reason.keys() - self.answered.keys()

    def due(self, now, most):
        self.answerable(now)
        due, early = [], []
        if len(self.reason) > most:
            while self.order and len(due) < most // 2:
                user = self.order[0]
                if user in self.reason and user in self.answered:
                    early.append(user)
                elif user in self.reason:
                    if self.reason[user][2] < now - self.fair_ms:
                        break
                    due.append(self.take(user, now))
                self.order.pop(0)
        self.order, early = early + self.order, []
        while self.order and len(due) < most:
            user = self.order.pop()
            if user in self.reason and user in self.answered:
                early.append(user)
            elif user in self.reason:
                due.append(self.take(user, now))
        self.order += [user for user in reversed(early) if user in self.reason]
        return due

    def take(self, user, now):
        partition, offset, _, context = self.reason.pop(user)
        self.answered[user] = now
        return user, partition, offset, context

    def shed_older(self, came_ms):
        old = [user for user, reason in self.reason.items() if reason[2] < came_ms]
        self.reason = {user: r for user, r in self.reason.items() if user not in old}
        return len(old)


NAMES = ["a", "b", "c", "d", "e", "é", "user-7", "user-70"]
USERS = st.sampled_from(NAMES)
ADD = st.tuples(st.just("add"), st.integers(0, 1), st.lists(USERS, max_size=8), st.booleans())
STEPS = st.lists(
    ADD
    | ADD
    | st.tuples(st.sampled_from(["due"]), st.integers(1, 6))
    | st.tuples(st.sampled_from(["shed"]), st.integers(0, 3_000))
    | st.tuples(st.sampled_from(["forget"]), st.integers(0, 1))
    | st.tuples(st.sampled_from(["withdraw"]), USERS),
    max_size=30,
)


@pytest.mark.parametrize("cleaned", [False, True])
@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([0, 500]), st.sampled_from([0, 700]), st.sampled_from([3, 1_000]))
def test_all_is_as_if_users_were_noted_one_at_a_time(cleaned, steps, every_ms, fair_ms, backlog):
    """cleaned: all is made shorter now and then. Who waits longest then differs a little.

    Before that, who has news keeps an earlier place beside the last one.
    """
    waiting = Waiting(len(NAMES) if cleaned else 1_000, every_ms, backlog, fair_ms)
    defined, offsets, now = Defined(every_ms, backlog, fair_ms), [0, 0], 0
    for step in steps:
        now += 300
        match step:
            case ("add", partition, users, traced):
                first = offsets[partition]
                offsets[partition] += len(users)
                context = {first: Context(surface=f"{first}")} if traced else {}
                waiting.add(
                    TouchedUsers(
                        topic="events", partition=partition, user_id=users, context=context,
                        offset=range(first, first + len(users)), first=first,
                        event_timestamp=[7] * len(users),
                    ),
                    now,
                )  # fmt: skip
                defined.add(partition, users, first, now, context)
            case ("due", number):
                found = [(t.user_id, t.partition, t.offset, t.context)
                         for t in waiting.due(now, number)]  # fmt: skip
                if cleaned:
                    assert len(found) == min(number, len(defined.answerable(now)))
                    assert {user for user, *_ in found} <= defined.answerable(now)
                    assert found == [defined.take(user, now) for user, *_ in found]
                else:
                    assert found == defined.due(now, number)
            case ("shed", age):
                assert waiting.shed_older(now - age) == defined.shed_older(now - age)
            case ("forget", partition):
                waiting.forget([partition])
                defined.reason = {u: r for u, r in defined.reason.items() if r[0] != partition}
                defined.batches = [b for b in defined.batches if b[0] != partition]
            case ("withdraw", user):
                waiting.withdraw(user)
                defined.reason.pop(user, None)
                defined.answered.pop(user, None)
        assert len(waiting) == len(defined.reason)
        assert [waiting.first("events", p) for p in (0, 1)] == [defined.first(p) for p in (0, 1)]
