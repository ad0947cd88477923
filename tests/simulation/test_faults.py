"""Bad input: deterministic, and the event decoder gives each the reason that is promised."""

from collections import Counter
from dataclasses import dataclass

import pytest

from simulation import FATES, Fault, faults
from streams.codec import decode_events
from streams.event_batch import EventRules

NOW = 1_748_736_000_000


@dataclass(frozen=True)
class Record:
    key: bytes | None
    value: bytes
    offset: int
    topic: str = "events"
    partition: int = 0
    timestamp: int = NOW


def drawn(count: int, seed: int = 0) -> list[Fault]:
    return list(faults(count, NOW, item_type="podcast", seed=seed, huge_bytes=100_000))


def test_every_fault_comes_in_turn_and_a_seed_decides_it() -> None:
    found = drawn(2 * len(FATES))
    assert Counter(fault.name for fault in found) == dict.fromkeys(FATES, 2)
    assert found == drawn(2 * len(FATES))
    assert found != drawn(2 * len(FATES), seed=1)


def test_the_huge_text_is_as_long_as_asked() -> None:
    found = {fault.name: fault for fault in faults(len(FATES), NOW, item_type="podcast")}
    assert len(found["huge_text"].value) > 5_000_000


@pytest.mark.parametrize("fault", drawn(len(FATES)), ids=lambda fault: fault.name)
def test_the_decoder_gives_the_promised_reason(fault: Fault) -> None:
    batch, letters = decode_events([Record(fault.key, fault.value, 7)], EventRules())
    if fault.reason is None:
        assert len(batch.user_id) == 1
        assert not letters
    else:
        assert [letter.reason for letter in letters] == [fault.reason]
        assert not len(batch.user_id)
