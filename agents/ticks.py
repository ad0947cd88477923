"""The clock of periodic work: monotonic, independent of the system's time."""

import time

__all__ = ["monotonic_ms"]


def monotonic_ms() -> int:
    """Milliseconds since an arbitrary start; only differences are meaningful."""
    return time.monotonic_ns() // 1_000_000
