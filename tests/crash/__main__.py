"""`python -m tests.crash --seed 7 --faults 50`: faults on a real broker, then the verdict."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from streams.distribution import BrokerError
from tests.crash.faults import FAULTS
from tests.crash.outcome import ended
from tests.crash.run import Options, ending, run
from tests.crash.world import RATE

FOLDER = Path("var") / "crash"


def main() -> int:
    """Run, print the history of faults and the verdict; 0 if equal, 1 if not, 2 without Java."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="chooses faults and records")
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--brokers", type=int, default=1, help="brokers of the cluster")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument(
        "--only", help="kinds of fault, comma-separated: scale,restart is a test of rebalances"
    )
    parser.add_argument("--minutes", type=float, help="faults for so long instead of so many")
    parser.add_argument("--rate", type=int, default=RATE, help="records written a second")
    parser.add_argument(
        "--age-limit", type=float, default=120.0,
        help="seconds for which a partition may apply nothing",
    )  # fmt: skip
    parser.add_argument(
        "--upgrade", metavar="COMMIT",
        help="start with this commit's code, and upgrade one process after each fault",
    )  # fmt: skip
    parser.add_argument("--transport", choices=("faust", "librdkafka"), default="faust")
    parser.add_argument("--standby", action="store_true", help="workers follow what others own")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and states")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    asked = parser.parse_args()
    folder = FOLDER / f"seed-{asked.seed}"
    ending()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it is we who stop the broker
    kinds = tuple(fault.name for fault in FAULTS)
    only = tuple(asked.only.split(",")) if asked.only else kinds
    if unknown := set(only) - set(kinds):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    options = Options(
        seed=asked.seed, faults=asked.faults, workers=asked.workers, only=only, folder=folder,
        minutes=asked.minutes, rate=asked.rate, age_limit_s=asked.age_limit, upgrade=asked.upgrade,
        brokers=asked.brokers, transport=asked.transport, standby=asked.standby,
    )  # fmt: skip
    try:
        report = asyncio.run(run(options))
    except BrokerError as error:
        sys.stderr.write(f"no broker to harm: {error}\n")
        return 2
    return ended(report, folder, as_json=asked.json, keep=asked.keep)


if __name__ == "__main__":
    sys.exit(main())
