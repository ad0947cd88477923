"""What `segue status` shows, without a broker."""

from segue.system_status import _noted_counts


def test_counts_are_those_of_the_latest_commit_of_each_partition():
    notes = {
        ("segue.events", 0): '{"applied": 7, "refused": 1}',
        ("segue.users", 0): '{"applied": 5, "refused": 1}',
        ("segue.events", 1): "",
        ("segue.events", 2): "a note of somebody else",
        ("segue.events", 3): '{"applied": "many"}',
        ("player", 4): '{"applied": 2, "refused": 0}',
    }
    assert _noted_counts(notes) == {
        0: {"applied": 7, "refused": 1},
        4: {"applied": 2, "refused": 0},
    }
