"""Where agents write: Kafka through the app's outbox, or the embedded log."""

from typing import Protocol

from streams import EmbeddedLog

__all__ = ["EmbeddedOutputs", "Outputs"]


class Outputs(Protocol):
    """Records on their way out; what is flushed is safe."""

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Queue a record."""

    async def flush(self) -> None:
        """Wait until everything sent so far is stored; raises if anything was refused."""


class EmbeddedOutputs:
    """Writes straight into the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to `log`."""
        self._log = log

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Append a record."""
        self._log.append(topic, key, value)

    async def flush(self) -> None:
        """Make what was sent survive a power cut."""
        self._log.sync()
