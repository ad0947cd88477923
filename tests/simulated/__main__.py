"""Simulated nights: python -m tests.simulated --seed 1 --nights 10000."""

# ruff: noqa: T201 - a command for people
import argparse
import logging
import sys
import time

from tests.simulated.run import STEPS, again, run_night

REPORT_EVERY_S = 10.0


def main() -> int:
    """Run nights; the exit status is 1 if one failed."""
    options = _options()
    if not options.trace:
        logging.disable(logging.CRITICAL)
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first night")
    parser.add_argument("--nights", type=int, default=1, help="seeds that follow each other")
    parser.add_argument("--steps", type=int, default=STEPS, help="things that happen in a night")
    parser.add_argument("--trace", action="store_true", help="print what happened, and the log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
