"""The time of this machine, as the log counts it."""

import time

__all__ = ["now_ms"]


def now_ms() -> int:
    """Return the time of the system's clock in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
