"""The morning of a night: the faults end, a last user is erased, and the work is done."""

import random
import re
from pathlib import Path

from agents.working.leftovers import LEFTOVER_DAYS
from streams import erasure_value, murmur2_partition
from tests.agents.definition import files_with_each
from tests.simulated.night import Night
from tests.simulated.purging import wait_for_removals
from tests.simulated.rows import check_rows
from tests.simulated.workers import Life
from tests.simulated.worlds import (
    DAY,
    HOUR,
    ITEMS,
    PARTITIONS,
    SECOND,
    SOURCES,
    TOPICS,
    USERS,
    WORKERS,
    witness_of,
)


def dawn(night: Night) -> None:
    """Heal everything, and let the workers do what there is to do; then events come again."""
    night.store.away, night.store.torn, night.store.slow_s = False, 0.0, 0.0
    night.fuse.out()
    night.producers.all_end()
    night.recreation.all_begin_again()
    for number in range(WORKERS):
        if number not in night.lives:
            night.begins(number)
    night.now += HOUR  # past what the clock was set back by
    for part in range(PARTITIONS):
        if not any(part in life.owned for life in night.lives.values()):
            night.assign(night.lives[part % WORKERS], part)
    owned = {part for life in night.lives.values() for part in life.owned}
    assert owned == set(range(PARTITIONS)), f"no worker opens {set(range(PARTITIONS)) - owned}"
    late = random.Random(f"end of {night.seed}")
    if late.random() < 0.5:
        a_last_user_is_erased(night, late)
    work_is_done(night, learning=False)  # what is left on the disks is no matter of the trainer's
    wait_for_removals(night)
    for user, files in files_with_each(night.folder, USERS).items():
        night.left_at_dawn[user] = [name for name in files if not is_leftover(night, user, name)]
    for part in range(PARTITIONS):
        # What erased events told of the time is told by an event that stays.
        night.write_event(TOPICS.events, witness_of(part), ITEMS[0], night.now)
    work_is_done(night)
    for life in night.lives.values():
        life.worker.partitions.remove_leftovers()  # sees what has changed
    night.sleep((LEFTOVER_DAYS + 1) * DAY / SECOND)
    for life in night.lives.values():
        life.worker.partitions.remove_leftovers()
        for channel in night.experiments.channels:
            models = life.worker.channels.serving(channel)
            night.models.check_served(models, 10**9, f"worker {life.number}", channel)
            check_rows(night, models, 10**9, f"worker {life.number}")
        life.check_served()


def a_last_user_is_erased(night: Night, late: random.Random) -> None:
    """Erase a user when nothing comes any more.

    The state may have been damaged just before; the process may die between the commit of the
    erasure and the next checkpoint.
    """
    user = late.choice(USERS)
    part = murmur2_partition(user.encode(), PARTITIONS)
    [life] = [life for life in night.lives.values() if part in life.owned]
    reads_everything(night, life)
    if late.random() < 0.5:
        life = returns(night, life, life.folder / "state" / f"{part:05d}")
    night.write_event(TOPICS.events, user, late.choice(ITEMS), night.now)
    night.read(life, TOPICS.events, part, 100)  # the user waits for lists
    night.written.append((TOPICS.events, user, "erasure"))
    night.log.append(TOPICS.events, user.encode(), erasure_value(night.log, user, SOURCES))
    night.erased_last = user
    reads_everything(night, life)
    if late.random() < 0.5:
        returns(night, life)


def returns(night: Night, life: Life, damaged: Path | None = None) -> Life:
    """Have a process die and come back; one of its states may lose a file meanwhile."""
    owned = sorted(life.owned)
    night.dies(life)
    if damaged is not None:
        (damaged / "CURRENT").unlink()
    night.begins(life.number)
    for part in owned:
        night.assign(night.lives[life.number], part)
    return night.lives[life.number]


def is_leftover(night: Night, user: str, name: str) -> bool:
    """Whether a file may hold an erased user for a week: of a state of another owner's, or of one
    that was put aside before another process applied the erasure.

    name: below the folder of the night.
    """
    found = re.match(r"(worker-(\d+)|console)/state/(\d+)(\.[a-z-]+)?/", name)
    if found is None:
        return False
    if found[4] and (found[2] is None or user != night.erased_last):
        return True
    return found[2] is not None and int(found[3]) not in night.lives[int(found[2])].owned


def work_is_done(night: Night, *, learning: bool = True) -> None:
    """Let every worker do what there is to do, the console, and with `learning` the trainer."""
    for life in list(night.lives.values()):
        works_everything_off(night, life)
    if learning:
        night.learning.work_is_done()
    night.models.check()
    for life in list(night.lives.values()):
        night.run(life, life.hear_all)
    night.console.work_is_done()
    assert len(night.lives) == WORKERS, "a worker died where nothing fails"


def reads_everything(night: Night, life: Life) -> None:
    """Let a worker read what there is, answer, and commit."""
    for _ in range(3):
        night.run(life, life.hear_all)  # without policies and catalogue it makes no list
        for part in sorted(life.owned):
            for topic in (*life.worker.topics, TOPICS.requests):
                while night.read(life, topic, part, 100):
                    pass
        for _ in range(4):
            night.sleep(1)
            night.run(life, life.worker.tick)
        night.commit(life)


def works_everything_off(night: Night, life: Life) -> None:
    """Let a worker do what there is to do, and checkpoint until no checkpoint is due."""
    reads_everything(night, life)
    for _ in range(night.settings.keep_checkpoints + 3):
        night.sleep(1)
        if not night.run(life, life.worker.checkpoint):
            break
    else:
        raise AssertionError(f"worker {life.number} checkpoints without end")
