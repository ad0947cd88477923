"""Which partition a key belongs to: the same answer as Kafka's own producers give."""

from typing import cast

from aiokafka.partitioner import murmur2


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as the Java client's default partitioner does.

    Costs some microseconds, for it is pure Python: callers that see keys again keep the answer.

    >>> murmur2_partition(b"foobar", 1000)
    166
    """
    return cast("int", murmur2(key) & 0x7FFFFFFF) % partitions
