"""The canary of a night: a second channel whose bundles are served beside those of the first.

Its bundles are copies of one that is there, for a second trainer would take as long as all the
rest. What decides on its share, and what serves it, is the product's own.
"""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agents.bundles.announcements import announced_names
from agents.bundles.announcing import announce
from agents.bundles.names import bundle_name
from agents.experiments.arms import user_place
from agents.training.canaries import Canary
from agents.training.quality import Decision, QualityStore
from agents.training.train_tally import TrainTally
from dynamic_layer import KEPT_DAYS, DynamicBundle
from streams import DEFAULT_CHANNEL, ArmShare, LogRecord, decode, encode
from tests.simulated.bundles import first_dynamic
from tests.simulated.worlds import CANARY, EXPERIMENTS, TOPICS

if TYPE_CHECKING:
    from tests.simulated.night import Night

_CONTROL, _ARM = EXPERIMENTS.arms
_PERSON = "restarted by a person", "stopped by a person"


class Canaries:
    """What happens to the canary, and who has to be served by it behind each announcement."""

    def __init__(self, night: "Night", fate: random.Random) -> None:
        self.night, self.fate = night, fate
        self.generation = 0
        self._said: ArmShare | None = None
        #: Share of the canary behind so many records of the models topic.
        self._shares = [0.0]
        self._hits = {arm.name: [0, 0] for arm in EXPERIMENTS.arms}
        self._canary = self._decider()

    def happenings(self) -> list[tuple[int, Callable[[], None]]]:
        """What may happen, with how often it does."""
        return [
            (2, self.a_canary_is_published), (3, self.a_canary_is_decided_on),
            (1, self.a_person_moves_the_canary),
        ]  # fmt: skip

    # What happens

    def a_canary_is_published(self) -> None:
        """Its channel has a new bundle, and both arms were asked more questions."""
        if self.night.store.away:
            return
        night = self.night
        self.generation += 1
        name, first = bundle_name(self.generation, CANARY), first_dynamic()
        bundle = replace(
            first,
            manifest=first.manifest | {"generation": self.generation, "created_at": night.now},
        )
        quality = QualityStore(night.learning.store, keep_days=KEPT_DAYS, channel=CANARY)
        quality.decided(self._decision(name, bundle))
        self._both_are_asked(quality)
        topic = night.log.read(TOPICS.models, 0, 0, 100_000)

        async def stay() -> set[str]:
            return {name for name in announced_names(topic).values() if name}

        night.learning.loop.whole(
            announce(
                bundle, name, {}, store=night.learning.store, scratch=night.folder / "job",
                outputs=night.sure, topics=TOPICS, now_ms=night.now, keep=2, wanted=stay,
                channel=CANARY,
            )
        )  # fmt: skip

    def _decision(self, name: str, bundle: DynamicBundle) -> Decision:
        return Decision(
            at=self.night.now, bundle=name, generation=self.generation,
            static=bundle.manifest["static"], reasons=[], held_out=0, served=None, hr_at_10=None,
            served_hr_at_10=None,
        )  # fmt: skip

    def _both_are_asked(self, quality: QualityStore) -> None:
        rate = self.fate.choice([0.2, 0.4, 0.4, 0.4])  # the control has .4
        rows = []
        for arm, of in ((_CONTROL.name, 0.4), (_ARM.name, rate)):
            known = self._hits[arm]
            known[0] += 300
            known[1] += sum(self.fate.random() < of for _ in range(300))
            rows.append(
                {"day": "2026-01-01", "arm": arm, "generation": self.generation + 1_000,
                 "examples": known[0], "hits": known[1]}
            )  # fmt: skip
        file = self.night.folder / "job" / "2026-01-01.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        quality.put_days([file])

    def a_canary_is_decided_on(self) -> None:
        """Its trainer decides; it may have been restarted before, and may have lost its memory."""
        if self.fate.random() < 0.2:
            self._canary = self._decider()
        self.night.sleep(self.fate.choice([60, 600]))
        self.night.learning.loop.whole(self._canary.look())

    def a_person_moves_the_canary(self) -> None:
        """A person restarts or stops it, as `segue experiments` does."""
        restarted = self.fate.random() < 0.7
        now = self.night.now
        said = ArmShare(
            arm=_ARM.name, salt=EXPERIMENTS.salt, share=_ARM.canary.first if restarted else 0.0,
            state="growing" if restarted else "stopped", started_at=now, changed_at=now,
            after_generation=self.generation if restarted else 0,
            reasons=[_PERSON[0 if restarted else 1]],
        )  # fmt: skip
        self.night.log.append(TOPICS.models, said.key, encode(said))

    def _decider(self) -> Canary:
        night = self.night

        async def read_models() -> list[LogRecord]:
            return list(night.log.read(TOPICS.models, 0, 0, 100_000))

        return Canary(
            _ARM, EXPERIMENTS, store=night.learning.store, topics=TOPICS, outputs=night.sure,
            tally=TrainTally(), clock_ms=night.clock, ticks_ms=night.ticks,
            read_models=read_models,
        )  # fmt: skip

    # What has to be so

    def announced(self, record: LogRecord) -> None:
        """Take a record of the models topic, and note a share that may not follow the last one."""
        if record.key == f"share/{_ARM.name}".encode() and record.value is not None:
            said, before = decode(ArmShare, record.value), self._said
            if said.reasons[0] not in _PERSON and before is not None:
                if before.state == "stopped":
                    self.night.complain(f"a canary that was stopped has {said.share}")
                if said.share > before.share + _ARM.canary.step + 1e-6:
                    self.night.complain(f"a canary grew from {before.share} to {said.share}")
            if said.share > _ARM.share or (said.state == "stopped" and said.share):
                self.night.complain(f"a canary that is {said.state} has {said.share}")
            self._said = said
        self._shares.append(self._said.share if self._said is not None else 0.0)

    def channel_of(self, user: str, read_to: int) -> str:
        """Return the channel that a user is served by where a process has read to.

        The canary is the second arm: its users are those with the greatest places.
        """
        share = self._shares[min(read_to, len(self._shares) - 1)]
        return CANARY if user_place(EXPERIMENTS.salt, user) >= 1 - share else DEFAULT_CHANNEL
