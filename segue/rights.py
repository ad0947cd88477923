"""Rights that each role needs on Kafka; `deploy/kafka/acls.sh` grants exactly these (tested)."""

from collections.abc import Callable

from segue.options import explained
from segue.settings import Settings
from streams import (
    AdminError,
    SourceError,
    item_topics,
    read_in_place,
    rekeyed,
    require_broker,
    require_item_topics,
    wait_for_broker,
)
from streams.app import TransportError, require_transport
from streams.rights import MissingRight, Rights, require_rights

__all__ = ["RIGHTS", "require_rights_of"]


def _items(settings: Settings) -> tuple[str, ...]:
    return item_topics(settings.topics, settings.item_sources)


def _worker(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, *_items(settings), names.users, names.requests, names.models}
            | {names.demand, names.erasures, names.policies, names.rows}
            | {source.topic for source in read_in_place(settings.sources)}
        ),
        write=frozenset(
            {names.recommendations, names.examples, names.dead_letters, names.receipts}
            | {names.demand, names.erasures}
            | ({names.impressions} if settings.worker.shown_lists else set())
        ),
        group=settings.worker.group,
    )


def _trainer(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset({names.examples, names.models, names.demand, *_items(settings)}),
        write=frozenset({names.models, names.rows, names.dead_letters}),
        group=settings.trainer.own_group,
    )


def _static(settings: Settings) -> Rights:
    """Rights of the job; where there are no `item_sources`, checkpoints have the catalogue."""
    return Rights(
        read=frozenset(_items(settings) if settings.item_sources else ()),
        write=frozenset({settings.topics.models}),
    )


def _console(settings: Settings) -> Rights:
    """Topics that the role reads. It rarely writes there, and Kafka refuses that itself."""
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, *_items(settings), names.users, names.models}
            | {names.recommendations, names.dead_letters, names.receipts, names.erasures}
            | {names.policies, names.rows}
            | {source.topic for source in read_in_place(settings.sources)}
        )
    )


def _rekey(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset(source.topic for source in rekeyed(settings.personal_sources)),
        write=frozenset(
            {names.dead_letters}
            | ({names.events} if rekeyed(settings.sources) else set())
            | ({names.users} if settings.user_sources else set())
        ),
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
    """Exit if no broker answers, a package, a topic of items or a right of the user is missing.

    A long-running role waits half a minute for a broker; the static job does not.
    """
    rights = RIGHTS[role](settings)
    with explained(MissingRight, AdminError, SourceError, TransportError):
        if rights.group:
            require_transport(settings.kafka)
        (require_broker if role == "static" else wait_for_broker)(settings.kafka)
        require_rights(settings.kafka, rights)
        if role != "rekey":
            require_item_topics(settings.kafka, settings.item_sources)
