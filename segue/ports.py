"""Opens ports, with messages that say what to do."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["PortError", "bound_socket", "explained_port"]


class PortError(Exception):
    """A port cannot be opened; the message says why, and which option to change."""


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a TCP socket with this address, which does not accept connections yet.

    port: 0 for a free one. Raises PortError.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        with explained_port(host, port, "--port"):
            made.bind((host, port))
    except PortError:
        made.close()
        raise
    return made


@contextmanager
def explained_port(host: str, port: int, option: str) -> Iterator[None]:
    """Raise PortError instead of OSError. option: sets the port."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            what = f"is in use by another process: choose another one with {option}"
        elif error.errno == errno.EACCES:
            what = f"is not open to this user: choose one above 1023 with {option}"
        else:
            what = f"cannot be opened: {error.strerror}"
        raise PortError(f"port {port} of {host} {what}") from error
