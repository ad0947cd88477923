"""Retries: how often work on the artifact store is tried, and how long the pauses are."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["LONG", "Patience", "StoreUnavailable", "retried"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StoreUnavailable(OSError):
    """The artifact store cannot be reached, or refuses; the message names the operation."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Attempts, and the exponential backoff between them.

    attempts: how often work is tried, at least 1.
    first_s:  seconds of the first pause; each further pause is `factor` times as long.
    most_s:   longest pause in seconds.

    >>> [Patience(first_s=1, factor=2, most_s=5).pause_s(failures) for failures in (1, 2, 3, 4)]
    [1, 2, 4, 5]
    """

    attempts: int = 4
    first_s: float = 0.1
    factor: float = 3.0
    most_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, of which there is at least one."""
        # The exponent is bounded: an outage of days must not overflow.
        return min(self.first_s * self.factor ** min(failures - 1, 64), self.most_s)


#: For jobs whose work takes hours and would be lost: about two minutes.
LONG = Patience(attempts=9, first_s=0.5, factor=2.0, most_s=60.0)


def retried(
    work: Callable[[], T],
    patience: Patience,
    *,
    what: str,
    failed: Callable[[], None],
    answers: tuple[type[Exception], ...] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `work` until it succeeds; raises StoreUnavailable after the last attempt.

    what:    names the work in messages.
    failed:  called once for each failed attempt.
    answers: exceptions that are results and not failures; they are raised at once.
    """
    failures = 0
    while True:
        try:
            return work()
        except answers:
            raise
        except Exception as error:  # each kind of store raises exceptions of its own
            failures += 1
            failed()
            if failures >= patience.attempts:
                raise StoreUnavailable(
                    f"{what} failed {failures} times, the last time with {error!r}"
                ) from error
            pause = patience.pause_s(failures)
            logger.warning("%s failed, trying again in %g s: %r", what, pause, error)
            sleep(pause)
