"""Rights that each role needs on Kafka; `deploy/kafka/acls.sh` grants exactly these (tested)."""

from collections.abc import Callable

from segue.options import explained
from segue.settings import Settings
from streams import AdminError, read_in_place, rekeyed, require_broker, wait_for_broker
from streams.app import TransportError, require_transport
from streams.rights import MissingRight, Rights, require_rights

__all__ = ["RIGHTS", "require_rights_of"]


def _worker(settings: Settings) -> Rights:
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, names.catalogue, names.users, names.requests, names.models}
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
        read=frozenset({names.examples, names.models, names.demand, names.catalogue}),
        write=frozenset({names.models, names.rows, names.dead_letters}),
        group=settings.trainer.own_group,
    )


def _static(settings: Settings) -> Rights:
    return Rights(write=frozenset({settings.topics.models}))


def _console(settings: Settings) -> Rights:
    """Topics that the role reads. It rarely writes there, and Kafka refuses that itself."""
    names = settings.topics
    return Rights(
        read=frozenset(
            {names.events, names.catalogue, names.users, names.models}
            | {names.recommendations, names.dead_letters, names.receipts, names.erasures}
            | {names.policies, names.rows}
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
    """Exit if no broker answers, a package is missing, or the Kafka user lacks required rights.

    A long-running role waits half a minute for a broker; the static job does not.
    """
    rights = RIGHTS[role](settings)
    with explained(MissingRight, AdminError, TransportError):
        if rights.group:
            require_transport(settings.kafka)
        (require_broker if role == "static" else wait_for_broker)(settings.kafka)
        require_rights(settings.kafka, rights)
