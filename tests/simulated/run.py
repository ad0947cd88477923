"""Runs nights by their seeds, and says how to run one again that failed."""

import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from console import replica as consoles
from tests.simulated.checker import differences
from tests.simulated.faults import disks_in_the_clock_of
from tests.simulated.learning import gate_by_lot
from tests.simulated.morning import dawn
from tests.simulated.night import Night
from tests.simulated.sparing import sparing
from tests.simulated.transactions import follower
from tests.state.conftest import SCRATCH

#: Things that happen in a night.
STEPS = 200
#: Of a night in `make test`: two hundred of them in the time of a hundred.
SHORT = 80


def run_night(seed: int, steps: int = STEPS) -> tuple[Night, list[str]]:
    """Run a night; returns it, closed, and what was not as the log says."""
    folder = Path(tempfile.mkdtemp(dir=SCRATCH))
    night = None
    try:
        with sparing(), gate_by_lot(random.Random(f"gate of {seed}")), ExitStack() as stack:
            night = Night(seed, folder)
            stack.enter_context(disks_in_the_clock_of(night))
            stack.enter_context(patch.object(consoles, "follow", follower(night.log)))
            night.live(steps)
            dawn(night)
            return night, list(differences(night))
    except Exception as error:
        error.add_note(again(seed, steps))
        raise
    finally:
        if night is not None:
            night.ends()
        shutil.rmtree(folder)


def failing(seeds: Iterable[int], steps: int = STEPS) -> Iterator[str]:
    """Yield a text for each night that failed: what was wrong, and how to run it again."""
    for seed in seeds:
        _, wrong = run_night(seed, steps)
        if wrong:
            yield "\n".join([f"seed {seed}:", *wrong, again(seed, steps)])


def again(seed: int, steps: int) -> str:
    """How to run a night again, with all that happened in it."""
    return (
        f"run it again: .venv/bin/python -m tests.simulated --seed {seed} --steps {steps} --trace"
    )
