"""In the morning, states, receipts, letters and answers are what the log says."""

import os

from tests.simulated.run import failing, run_night

#: Nights in `make test`; `make soak` runs 10,000 of other seeds.
NIGHTS = int(os.environ.get("NIGHTS", "20"))


def test_in_the_morning_everything_is_what_the_log_says():
    assert list(failing(range(NIGHTS))) == []


def test_a_seed_makes_the_same_world_again():
    """RocksDB compacts in threads of its own, so which call a kill meets may differ; see run.py."""
    (one, _), (other, _) = run_night(7), run_night(7)
    assert one.written == other.written
    assert len(one.written) > 50
