"""`python -m tests.canary --seed 7`: a canary's life on a real broker, then the verdict."""

import argparse
import asyncio
import dataclasses
import json
import logging
import shutil
import sys
from pathlib import Path

from streams.distribution import BrokerError
from tests.canary.run import run
from tests.crash.__main__ import text_of
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
    equal = not report.differences
    if asked.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(report) | {"equal": equal}, indent=1) + "\n")
    else:
        sys.stdout.write(text_of(report))
    if equal and not asked.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.stderr.write(f"logs and states are kept in {folder}\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
