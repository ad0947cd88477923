"""Names of dynamic bundles: generation and channel, so that channels share one store.

Each channel numbers its own generations; bundle names of the default channel have no suffix.
"""

from collections.abc import Iterable

from streams import DEFAULT_CHANNEL

__all__ = ["bundle_name", "channel_of", "earlier", "next_generation", "of_channel"]


def bundle_name(generation: int, channel: str = DEFAULT_CHANNEL) -> str:
    """Return the name of a bundle; in the order of names, generations of a channel ascend.

    >>> bundle_name(12), bundle_name(12, "next")
    ('g000000012', 'g000000012-next')
    """
    return f"g{generation:09d}" + ("" if channel == DEFAULT_CHANNEL else f"-{channel}")


def channel_of(name: str) -> str:
    """Return the channel whose trainer made a bundle.

    >>> channel_of("g000000012"), channel_of("g000000012-next")
    ('default', 'next')
    """
    return name.partition("-")[2] or DEFAULT_CHANNEL


def of_channel(names: Iterable[str], channel: str) -> list[str]:
    """Return those names that are of a channel, in their order."""
    return [name for name in names if channel_of(name) == channel]


def earlier(names: Iterable[str], name: str) -> list[str]:
    """Return the names before one of those that the same channel's trainer made, the last first.

    >>> earlier(["g000000001", "g000000002", "g000000003", "g000000002-next"], "g000000003")
    ['g000000002', 'g000000001']
    """
    return sorted((one for one in of_channel(names, channel_of(name)) if one < name), reverse=True)


def next_generation(names: Iterable[str], channel: str) -> int:
    """Return the number of a channel's next bundle, by the names in the store.

    >>> next_generation(["g000000003", "g000000007-next"], "default")
    4
    """
    numbers = [int(name.partition("-")[0].lstrip("g")) for name in of_channel(names, channel)]
    return max(numbers, default=0) + 1
