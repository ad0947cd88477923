"""What each role does on Kafka. `deploy/kafka/acls.sh` grants this and no more; a test compares."""

from collections.abc import Callable

from segue.options import explained
from segue.settings import Settings
from streams import read_in_place, rekeyed
from streams.rights import MissingRight, Rights, require_rights

__all__ = ["RIGHTS", "require_rights_of"]


def _worker(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, names.catalogue, names.users, names.requests, names.models}
            | {names.demand}
            | {source.topic for source in read_in_place(settings.sources)}
        ),
        write=frozenset(
            {names.recommendations, names.examples, names.dead_letters, names.receipts}
            | {names.demand}
        ),
        group=settings.worker.group,
    )


def _trainer(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset({names.examples, names.models, names.demand}),
        write=frozenset({names.models, names.dead_letters}),
        group=settings.trainer.own_group,
    )


def _static(settings: Settings) -> Rights:
    return Rights(write=frozenset({settings.topics.models}))


def _console(settings: Settings) -> Rights:
    """What it reads. To write is asked of it seldom, and refused by Kafka then."""
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, names.catalogue, names.users, names.models}
            | {names.recommendations, names.dead_letters, names.receipts}
            | {source.topic for source in read_in_place(settings.sources)}
        )
    )


def _rekey(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset(source.topic for source in rekeyed(settings.sources)),
        write=frozenset({names.events, names.dead_letters}),
        group=settings.rekey.group,
    )


#: Role -> what it does, by its settings.
RIGHTS: dict[str, Callable[[Settings], Rights]] = {
    "worker": _worker,
    "trainer": _trainer,
    "static": _static,
    "console": _console,
    "rekey": _rekey,
}


def require_rights_of(role: str, settings: Settings) -> None:
    """End the command, and name the rights, where its user on Kafka lacks some that it needs."""
    with explained(MissingRight):
        require_rights(settings.kafka, RIGHTS[role](settings))
