"""Simulated nights: python -m tests.simulated --seed 1 --nights 10000.

With --hours 72, days without faults instead: what the processes hold must not grow.
"""

# ruff: noqa: T201 - a command for people
import argparse
import logging
import sys
import time

from tests.simulated.days import growth, run_days
from tests.simulated.run import STEPS, again, run_night

REPORT_EVERY_S = 10.0
#: Hours after which the memory of the process is judged: until then caches fill.
LONG_H = 48


def main() -> int:
    """Run nights; the exit status is 1 if one failed."""
    options = _options()
    if not options.trace:
        logging.disable(logging.CRITICAL)
    if options.hours:
        return _days(options.seed, options.hours)
    failed, simulated_h, began = 0, 0.0, time.monotonic()
    reported = began
    for seed in range(options.seed, options.seed + options.nights):
        night, wrong = run_night(seed, options.steps)
        simulated_h += night.elapsed / 3_600_000
        if options.trace:
            print("\n".join(night.trace))
        if wrong:
            failed += 1
            print("\n".join([f"seed {seed}:", *wrong, again(seed, options.steps)]), flush=True)
        now = time.monotonic()
        if now - reported > REPORT_EVERY_S:
            reported = now
            done = seed - options.seed + 1
            print(f"{done} of {options.nights} nights, {failed} failed", flush=True)
    seconds = time.monotonic() - began
    print(
        f"{options.nights} nights, {failed} failed; {simulated_h:.0f} simulated hours in"
        f" {seconds:.0f} s ({simulated_h / seconds:.1f} h/s)"
    )
    return 1 if failed else 0


def _days(seed: int, hours: int) -> int:
    sizes = []
    for hour, size in enumerate(run_days(seed, hours), 1):
        sizes.append(size)
        print(
            f"hour {hour}: containers {size.containers / 1e6:.2f} MB, process"
            f" {size.resident / 1e6:.1f} MB, disk {size.disk / 1e6:.2f} MB, {size.series} series",
            flush=True,
        )
    grown = growth(sizes, resident=hours >= LONG_H)
    print("\n".join(grown) or f"{hours} hours: nothing grows")
    return 1 if grown else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first night")
    parser.add_argument("--nights", type=int, default=1, help="seeds that follow each other")
    parser.add_argument("--steps", type=int, default=STEPS, help="things that happen in a night")
    parser.add_argument("--hours", type=int, default=0, help="hours of days without faults")
    parser.add_argument("--trace", action="store_true", help="print what happened, and the log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
