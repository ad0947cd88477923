"""The server's connections: a request that does not arrive in time ends its connection."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["timed_requests"]


def timed_requests(seconds: float) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with a time limit for each request to arrive as a whole.

    seconds: from the connection, or from the first byte of a later request, to the last byte of
    its body. Uvicorn itself limits only the pause between two requests.
    """

    class TimedRequests(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._check()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._check()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _incomplete(self) -> bool:
            cycle = self.cycle
            return cycle is None or cycle.more_body or cycle.response_complete

        def _check(self) -> None:
            if not self._incomplete() or self.transport.is_closing():
                self._stop_timer()
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self._end)

        def _stop_timer(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _end(self) -> None:
            self._late = None
            if self._incomplete():
                self.transport.close()

    return TimedRequests
