"""`python -m tests.canary --seed 7`: a canary's life on a real broker, then the verdict."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from streams.distribution import BrokerError
from tests.canary.run import run
from tests.crash.outcome import ended
from tests.crash.run import ending

FOLDER, LIBS = Path("var") / "canary", Path("var") / "kafka" / "libs"


def main() -> int:
    """Run, print what happened and the verdict; 0 if all is well, 1 if not, 2 without Java."""
    parser = argparse.ArgumentParser(prog="python -m tests.canary", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="chooses items and events")
    parser.add_argument("--rate", type=int, default=80, help="events written a second")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and states")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    asked = parser.parse_args()
    folder = FOLDER / f"seed-{asked.seed}"
    ending()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        report = asyncio.run(run(folder, LIBS, seed=asked.seed, rate=asked.rate))
    except BrokerError as error:
        sys.stderr.write(f"no broker to run on: {error}\n")
        return 2
    return ended(report, folder, as_json=asked.json, keep=asked.keep)


if __name__ == "__main__":
    sys.exit(main())
