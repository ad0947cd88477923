"""Changed item rows between bundles: every worker ends with the same ones, whatever it read."""

from collections.abc import Sequence
from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from agents.bundles.channels import Channels
from agents.bundles.rows import FollowedRows, rows_key
from agents.working.tally import Tally
from dynamic_layer import BundleRows, ChangedRows, CorruptRows, MissingRows, RowDelta
from state import ArtifactStore

D, ITEMS, NOW = 6, 12, 1_000_000
MADE = (7, NOW - 5)


def bundle(made: tuple[int, int] = MADE) -> SimpleNamespace:
    rng = np.random.default_rng(made[0])
    vectors = rng.standard_normal((ITEMS, D), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return SimpleNamespace(
        made=made, item_keys=np.arange(1, ITEMS + 1, dtype=np.uint64), vectors=vectors,
        bias=np.zeros(ITEMS, np.float32), model=SimpleNamespace(temperature=0.1),
    )  # fmt: skip


class Log:
    """The rows topic, and what a trainer knows: the last vectors of each item."""

    def __init__(self) -> None:
        self.records: list[SimpleNamespace] = []
        self.at = NOW
        self.began(MADE)

    def began(self, made: tuple[int, int]) -> None:
        """A trainer starts to send rows of a bundle, at the start or after a crash."""
        self.bundle = bundle(made)
        self.sender = ChangedRows(self.bundle, threshold=0.25)
        self.keys = np.arange(1, ITEMS + 4, dtype=np.uint64)  # three came after the bundle
        self.vectors = np.concatenate([self.bundle.vectors, np.eye(3, D, dtype=np.float32)])
        self.bias = np.zeros(len(self.keys), np.float32)

    def learned(self, rows: Sequence[int], seed: int) -> None:
        """Some vectors change, and what changed is sent."""
        rng = np.random.default_rng(seed)
        for row in rows:
            vector = rng.standard_normal(D).astype(np.float32)
            self.vectors[row], self.bias[row] = vector / np.linalg.norm(vector), rng.normal()
        self.write(self.sender.deltas(self.keys, self.vectors, self.bias, self.at))

    def withdrawn(self) -> None:
        self.write(self.sender.withdrawn(self.at))

    def write(self, deltas) -> None:
        self.at += 10
        for slot, delta in deltas:
            self.records.append(record(delta, len(self.records), slot))

    def compacted(self) -> list[SimpleNamespace]:
        """The last record of each key, in the order of the log."""
        last = {one.key: one.offset for one in self.records}
        return [one for one in self.records if last[one.key] == one.offset]


def record(delta: RowDelta, offset: int, slot: int = 0, channel: str = "default"):
    return SimpleNamespace(
        topic="segue.rows", partition=0, offset=offset, timestamp=NOW,
        key=rows_key(channel, slot), value=delta.pack(),
    )  # fmt: skip


def taken(records: Sequence[SimpleNamespace], follower: FollowedRows | None = None):
    follower = follower or FollowedRows("default")
    follower.take(records)
    return follower


def served(log: Log, follower: FollowedRows) -> dict[int, list[float]]:
    """What a worker serves of the log's bundle: key -> vector and bias."""
    own = np.concatenate([log.bundle.vectors, log.bundle.bias[:, None]], axis=1)
    found = dict(zip(log.bundle.item_keys.tolist(), own.tolist(), strict=True))
    rows = follower.of(log.bundle.made)
    if rows is not None:
        found |= zip(rows.keys.tolist(), rows.served.tolist(), strict=True)
    return found


ACTIONS = st.lists(
    st.one_of(
        st.lists(st.integers(0, ITEMS + 2), min_size=1, max_size=8).map(lambda r: ("learned", r)),
        st.sampled_from([("crashed", None), ("withdrawn", None), ("published", None)]),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, cuts=st.lists(st.integers(0, 40), max_size=3), seed=st.integers(0, 99))
def test_every_worker_ends_with_the_same_rows(actions, cuts, seed):
    """One that read all, one that starts on the compacted log, and ones that crashed and re-read.

    What they serve is what the trainer has, up to the threshold and the rounding of float16.
    """
    log, withdrawn = Log(), True
    for number, (action, rows) in enumerate(actions):
        if action == "learned":
            log.learned(rows, seed + number)
            withdrawn = False
        elif action == "withdrawn":
            log.withdrawn()
            withdrawn = True
        elif action == "published":
            log.began((log.bundle.made[0] + 1, log.at))
            withdrawn = True
        else:
            # Its next delta is cumulative; what it had learned since a checkpoint is lost.
            log.began(log.bundle.made)
            log.learned([seed % ITEMS], seed + 1_000 + number)
            withdrawn = False
    whole = served(log, taken(log.records))
    assert served(log, taken(log.compacted())) == whole
    for cut in cuts:
        crashed = taken(log.records[:cut])
        assert served(log, taken(log.records[cut:], crashed)) == whole, "it goes on"
        assert served(log, taken(log.records, crashed)) == whole, "a reader that begins again"
        assert served(log, taken(log.compacted(), taken(log.records[:cut]))) == whole
    if withdrawn:
        own = served(log, FollowedRows("default"))
        assert whole == own
    else:
        for key, vector, bias in zip(log.keys.tolist(), log.vectors, log.bias, strict=True):
            apart = np.linalg.norm(np.array(whole[key][:-1]) - vector) / 0.1
            assert apart + abs(whole[key][-1] - bias) <= 0.25 + 0.01


def test_a_reader_that_begins_again_never_serves_older_rows_on_the_way():
    log = Log()
    for number in range(8):
        log.learned([number, 2], number)
    follower = taken(log.records)
    whole = served(log, follower)
    for one in log.records:
        assert not follower.take([one])
        assert served(log, follower) == whole


def outcomes(follower: FollowedRows) -> list[str]:
    found: list[str] = []
    follower.counted = lambda outcome, _rows, _at: found.append(outcome)
    return found


def test_a_gap_is_refused_counted_and_repaired_by_the_next_cumulative_delta():
    log = Log()
    log.learned(range(10), 1)
    for number in range(3):
        log.learned([number], number)
    follower = FollowedRows("default")
    counted = outcomes(follower)
    follower.take(log.records[:2])
    before = served(log, follower)
    follower.take(log.records[3:])  # the third is missing
    assert counted == ["taken", "taken", "gap"]
    assert served(log, follower) == before
    first = len(log.records)
    while log.sender.slot != 1:  # a cumulative delta comes after as many rows as have changed
        log.learned([5, 6], len(log.records))
    assert len(log.records) - first <= 12
    follower.take(log.records[first:])
    assert counted[-1] == "taken"
    assert served(log, follower) == served(log, taken(log.records))


def test_damaged_rows_and_rows_of_an_earlier_bundle_are_refused_and_counted(caplog):
    log = Log()
    log.learned([1, 2], 1)
    follower = FollowedRows("default")
    counted = outcomes(follower)
    value = bytearray(log.records[0].value)
    value[60] ^= 1
    damaged = SimpleNamespace(**{**vars(log.records[0]), "value": bytes(value)})
    assert not follower.take([damaged])
    assert "expected checksum" in caplog.text
    for made in ((8, NOW), (9, NOW)):
        log.began(made)
        log.learned([3], 3)
        follower.take(log.records[-1:])
    assert not follower.take(log.records[:1])
    assert counted == ["damaged", "taken", "taken", "generation"]


def test_rows_of_another_channel_are_of_no_interest():
    log = Log()
    log.learned([1], 1)
    other = SimpleNamespace(**{**vars(log.records[0]), "key": rows_key("next", 0)})
    assert not FollowedRows("default").take([other])
    assert FollowedRows("next").take([other]) == {MADE}


def delta(n: int, sequence: int = 5, follows: int = 0, width: int = D) -> RowDelta:
    rng = np.random.default_rng(n)
    return RowDelta(
        made=MADE, sequence=sequence, follows=follows, keys=np.arange(n, dtype=np.uint64),
        vectors=rng.uniform(-1, 1, (n, width)).astype(np.float32),
        bias=rng.normal(size=n).astype(np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 50])
def test_a_delta_comes_back_with_the_stated_rounding(n):
    sent = delta(n)
    found = RowDelta.unpack(sent.pack())
    assert (found.made, found.sequence, found.follows) == (MADE, 5, 0)
    np.testing.assert_array_equal(found.keys, sent.keys)
    np.testing.assert_array_equal(found.bias, sent.bias)
    assert np.abs(found.vectors - sent.vectors).max(initial=0) <= 1 / 2_048


def test_every_damage_is_noticed():
    whole = delta(3).pack()
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 0x10
        with pytest.raises(CorruptRows):
            RowDelta.unpack(bytes(broken))
    for size in range(len(whole)):
        with pytest.raises(CorruptRows):
            RowDelta.unpack(whole[:size])


def test_a_large_delta_is_split_into_small_records_that_follow_each_other():
    whole = delta(1_000, sequence=40, follows=30, width=64)
    parts = list(whole.split(20_000))
    assert len(parts) > 5
    assert all(len(part.pack()) <= 20_000 for part in parts)
    rows = BundleRows.after(None, delta(1, sequence=30, width=64))
    for part in parts:
        rows = BundleRows.after(rows, RowDelta.unpack(part.pack()))
    assert rows.sequence == parts[-1].sequence
    np.testing.assert_array_equal(rows.keys, whole.keys)
    with pytest.raises(MissingRows, match="follow"):
        BundleRows.after(BundleRows.after(None, delta(1, sequence=30, width=64)), parts[1])


def test_nothing_is_sent_where_nothing_changed():
    log = Log()
    log.learned([], 1)  # the first time, of the items that came after the bundle
    sent = len(log.records)
    log.learned([], 2)
    log.vectors += 0.001
    log.learned([], 3)
    assert len(log.records) == sent
    assert ChangedRows(bundle(), threshold=0.25).changed == 0


def test_a_worker_counts_deltas_and_shows_how_late_they_come(tmp_path):
    clock = SimpleNamespace(ms=NOW)
    tally = Tally()
    channels = Channels(ArtifactStore(str(tmp_path)), tmp_path, lambda: None, lambda: clock.ms)
    tally.watch_rows(channels, lambda: clock.ms)
    log = Log()
    log.at = NOW - 1  # before the worker started: it says nothing of the latency
    log.learned([1, 2], 1)
    log.at = NOW + 100
    log.learned([1, 2, 3, 4], 2)
    clock.ms = NOW + 2_100
    channels.following("default").rows.take(log.records)
    channels.following("default").rows.take(
        [SimpleNamespace(**{**vars(log.records[0]), "value": b"SGRW"})]
    )
    value = tally.registry.get_sample_value
    assert value("segue_row_deltas_total", {"outcome": "taken"}) == 2
    assert value("segue_row_deltas_total", {"outcome": "damaged"}) == 1
    assert value("segue_row_deltas_total", {"outcome": "gap"}) == 0
    assert value("segue_row_delta_latency_seconds_count") == 1
    assert value("segue_row_delta_latency_seconds_sum") == pytest.approx(2.0)
    assert value("segue_rows_checksum") == 0, "no bundle is served"
