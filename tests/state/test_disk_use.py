"""What a state keeps on its disk besides data."""

import shutil

from state import StateSettings
from state.database import META, ROCKS_LOG_BYTES, open_database


def test_rocksdbs_own_log_stays_small_while_a_state_is_open(tmp_path):
    database = open_database(tmp_path / "state", StateSettings())
    try:
        for number in range(90):  # each checkpoint adds about 8 KB to it
            batch = database.batch()
            batch.put(META + b"n", str(number).encode())
            database.write(batch)
            database.link_into(tmp_path / "checkpoint")
            shutil.rmtree(tmp_path / "checkpoint")
        logs = list((tmp_path / "state").glob("LOG*"))
        assert len(logs) == 2
        assert sum(log.stat().st_size for log in logs) < 2.1 * ROCKS_LOG_BYTES
    finally:
        database.close()
