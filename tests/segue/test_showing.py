"""What `segue state show` says of a user's actions."""

from contextlib import closing

from segue.showing import _disliked
from state import Action, PartitionState, StateSettings
from tests.state.streams_of_events import Columns, Event


def test_the_items_that_a_user_rejects_are_named_latest_first(tmp_path):
    settings = StateSettings(actions=(Action(kind="dislike", sign="negative"),))
    times = {"i0": 1, "i1": 3, "i2": 2}
    events = [Event("ann", item, "dislike", time) for item, time in times.items()]
    events.append(Event("ann", "i2", "stream", 4))
    with closing(PartitionState(tmp_path, 0, settings)) as state:
        state.apply_events("events", Columns(events), len(events))
        state.commit()
        found = _disliked(state, "ann", lambda _type, item: {"i1": "One"}.get(item))
    assert found == [
        {"item_type": "podcast", "item_id": "i1", "title": "One"},
        {"item_type": "podcast", "item_id": "i0", "title": "i0"},
    ]
