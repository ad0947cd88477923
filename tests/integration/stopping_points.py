"""The moments in a worker's life at which `stopping_worker` stops it, for each transport."""

import inspect
from dataclasses import dataclass
from typing import Any

from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance

from streams.consumer_thread import ConsumerThread
from streams.faust_app import FaustApp
from streams.librdkafka_app import LibrdkafkaApp
from streams.librdkafka_consumer import LibrdkafkaConsumer
from streams.librdkafka_log import LogEnds
from streams.librdkafka_producer import LibrdkafkaProducer
from streams.open_partitions import OpenPartitions
from streams.transport import Consumer, Producer

#: What happens at a point: a signal or a crash of the app, then the interrupted call goes on; or
#: the call itself fails or is cancelled.
ACTIONS = ("term", "crash", "raise", "cancel")


@dataclass(frozen=True)
class Point:
    """A moment in a worker's life: the nth call of a method.

    rebalance: the group is joined again after the first request, or by another member.
    stop:      the worker gets SIGTERM after the first request.
    after_s:   not at a call, but so many seconds after the start.
    """

    name: str
    owner: Any
    method: str
    nth: int = 1
    rebalance: bool = False
    stop: bool = False
    after_s: float | None = None

    @property
    def waits(self) -> bool:
        """Whether the call is awaited; others are made in the client's thread."""
        return inspect.iscoroutinefunction(getattr(self.owner, self.method))

    @property
    def actions(self) -> tuple[str, ...]:
        """What can happen here: a second signal ends the process at once."""
        first = ACTIONS[1:] if self.stop else ACTIONS
        return first if self.waits else first[:-1]


@dataclass(frozen=True)
class Points:
    """Those of one transport.

    start:  until the first batch. Without the first `fatal` of them there is no worker: an error
            there ends the process without a signal.
    commit: a batch and its commit.
    """

    start: list[Point]
    rebalance: list[Point]
    commit: list[Point]
    stop: list[Point]
    fatal: int = 2

    @property
    def every(self) -> list[Point]:
        return self.start + self.rebalance + self.commit + self.stop

    def is_fatal(self, point: Point) -> bool:
        return point in self.start[: self.fatal]


FAUST = Points(
    start=[
        Point("the producer starts", Producer, "on_start"),
        Point("the client starts", ConsumerThread, "on_start"),
        Point("topics are subscribed", ConsumerThread, "subscribe"),
        Point("the group is joined", CoordinatorGroupRebalance, "perform_group_join"),
        Point("the group is synchronised", CoordinatorGroupRebalance, "_send_sync_group_request"),
        Point("partitions are assigned", ConsumerThread, "on_partitions_assigned"),
    ],
    # The second call: the first is when the group is joined.
    rebalance=[
        Point(name, owner, method, 2, rebalance=True)
        for name, owner, method in (
            ("revoked, in the thread", ConsumerThread, "on_partitions_revoked"),
            ("revoked, in the app", FaustApp, "_on_partitions_revoked"),
            ("states are closed", FaustApp, "_close"),
            ("joined again", CoordinatorGroupRebalance, "perform_group_join"),
            ("assigned, in the thread", ConsumerThread, "on_partitions_assigned"),
            ("assigned, in the app", FaustApp, "_on_partitions_assigned"),
            ("states are opened", FaustApp, "_open"),
            ("positions are sought", Consumer, "seek_to_committed"),
        )
    ],
    commit=[
        Point("records are fetched", ConsumerThread, "_fetch_records", 3),
        Point("a batch is handled", FaustApp, "_handle"),
        Point("requests are committed", Consumer, "force_commit"),
        Point("offsets are committed, in the thread", ConsumerThread, "_commit"),
    ],
    stop=[
        Point("the app shuts", FaustApp, "_shut", stop=True),
        Point("the consumer stops", Consumer, "on_stop", stop=True),
        Point("the thread stops", ConsumerThread, "on_thread_stop", stop=True),
        Point("the group is left", ConsumerThread, "_leave", stop=True),
        Point("the producer stops", Producer, "on_stop", stop=True),
    ],
)

LIBRDKAFKA = Points(
    start=[
        Point("the app starts", LibrdkafkaApp, "start"),
        Point("the client starts", LibrdkafkaConsumer, "open"),
        Point("partitions are assigned", LibrdkafkaConsumer, "_assign"),
        Point("states are opened", LibrdkafkaApp, "_open"),
        Point("the log is asked for its ends", LogEnds, "held"),
        Point("positions are sought", LibrdkafkaConsumer, "begin"),
    ],
    rebalance=[
        Point(name, owner, method, nth, rebalance=True)
        for name, owner, method, nth in (
            ("revoked, in the thread", LibrdkafkaConsumer, "_revoke", 1),
            ("revoked, in the app", LibrdkafkaApp, "_revoked", 1),
            ("states are closed", OpenPartitions, "close", 1),
            ("assigned again", LibrdkafkaConsumer, "_assign", 2),
            ("states are opened again", LibrdkafkaApp, "_open", 2),
            ("the log is asked again", LogEnds, "held", 2),
            ("positions are sought again", LibrdkafkaConsumer, "begin", 2),
        )
    ],
    commit=[
        Point("records are fetched", LibrdkafkaConsumer, "fetch", 3),
        Point("a batch is handled", OpenPartitions, "handle"),
        Point("positions are committed", LibrdkafkaApp, "commit_positions"),
        Point("offsets are committed, in the thread", LibrdkafkaConsumer, "commit"),
    ],
    stop=[
        Point("the app shuts", LibrdkafkaApp, "stop", stop=True),
        Point("states are closed for good", OpenPartitions, "close", stop=True),
        Point("the group is left", LibrdkafkaConsumer, "close", stop=True),
        Point("partitions are given back, in the thread", LibrdkafkaConsumer, "_revoke", stop=True),
        Point("partitions are given back, in the app", LibrdkafkaApp, "_revoked", stop=True),
        Point("the producer closes", LibrdkafkaProducer, "close", stop=True),
    ],
)

POINTS = {"faust": FAUST, "librdkafka": LIBRDKAFKA}
