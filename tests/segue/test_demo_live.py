"""What the demo says of its live traffic is what the log shows."""

from segue.demo.live import LiveResult, measure
from streams import Recommendation, Source


def answer(user, offset, written):
    record = Recommendation(
        user_id=user, list="mix", items=[], generation=1,
        source=Source(topic="events", partition=0, offset=offset),
        event_timestamp=0, created_at=written,
    )  # fmt: skip
    return record, written


def test_only_users_with_an_answer_are_served():
    result = LiveResult()
    sent = [("a", 0, 10, 1_000), ("a", 0, 11, 1_100), ("b", 0, 12, 1_200)]
    measure(result, sent, [answer("a", 10, 1_300)])
    assert (result.active_users, result.served) == (2, 0.5)
    assert result.unanswered == 2
    assert result.latency_ms["p99"] == 300


def test_an_answer_counts_for_the_events_it_knows():
    result = LiveResult()
    sent = [("a", 0, 10, 1_000), ("a", 0, 11, 1_100)]
    measure(result, sent, [answer("a", 11, 1_400), answer("a", 12, 9_000)])
    assert result.unanswered == 0
    assert result.latency_ms["p50"] == 350
    assert result.latency_ms["p99"] == 399
