"""Starts and stops of workers at drawn moments, several in one group; run by `make soak`.

`python -m tests.integration.soak_stops --cycles 500 --seed 1` ends with status 1 if one of them
did not end within ten seconds, or only by the limit of stops.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from streams.broker import DevelopmentBroker
from streams.distribution import POM, KafkaDistribution
from tests.integration.conftest import LIBS
from tests.integration.stopping_points import POINTS
from tests.integration.test_stopping import faults_of, run_workers
from tests.waiting import PATIENCE_S


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transport", choices=POINTS, default="faust")
    options = parser.parse_args()
    faults: Counter[str] = Counter()
    longest, ended = 0.0, 0
    with tempfile.TemporaryDirectory(prefix="segue-stops-") as scratch:
        jars = KafkaDistribution(pom=POM, libs=LIBS).resolve()
        broker = DevelopmentBroker(Path(scratch) / "kafka", POM, libs=jars)
        address = broker.start(timeout=PATIENCE_S)
        try:
            more = ("--natural", str(options.cycles), "--seed", str(options.seed))
            for outcome in run_workers(address, Path(scratch), options.transport, *more):
                ended += 1
                longest = max(longest, outcome["seconds"])
                if (fault := faults_of(outcome)) is not None:
                    faults[fault] += 1
                    sys.stderr.write(f"{outcome['point']}: {fault}\n{outcome['output']}\n")
        finally:
            broker.stop()
    found = dict(faults) or "none"
    sys.stdout.write(f"{ended} starts and stops, longest {longest:.1f} s, faults: {found}\n")
    return 1 if faults or ended != options.cycles else 0


if __name__ == "__main__":
    sys.exit(main())
