"""The port that a role opens for Prometheus and for its liveness probe."""

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from segue.options import explained
from streams.pulse import Pulse

__all__ = ["PortError", "Probed", "bound_socket", "explained_port", "serve_metrics"]


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


Environ = dict[str, Any]
Respond = Callable[..., Any]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, _format: str, *_args: Any) -> None:
        """Log no requests: Prometheus and the probe send one every few seconds."""


class Probed:
    """A WSGI application: `/live` reports whether the role's parts run, other paths the metrics.

    `/live` answers 200, or 503 with the parts that hang and for how many seconds. A separate thread
    answers, also when the event loop hangs: an answer of `/metrics` says nothing about the role.
    """

    def __init__(self, registry: CollectorRegistry, pulse: Pulse) -> None:
        """Serve a registry and the liveness of a role."""
        self._metrics = make_wsgi_app(registry)
        self._pulse = pulse

    def __call__(self, environ: Environ, respond: Respond) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("PATH_INFO") != "/live":
            answer: Iterable[bytes] = self._metrics(environ, respond)
            return answer
        silent = {part: round(seconds, 1) for part, seconds in self._pulse.silent().items()}
        status = "503 Service Unavailable" if silent else "200 OK"
        respond(status, [("Content-Type", "application/json")])
        return [json.dumps({"live": not silent, "silent_s": silent}).encode() + b"\n"]


def serve_metrics(port: int, host: str, registry: CollectorRegistry, pulse: Pulse) -> int:
    """Serve metrics and liveness from a thread until the process ends; returns the port.

    port: 0 for a free one. Exits with status 1 and a message if the port cannot be opened.
    """
    with explained(PortError), explained_port(host, port, "--metrics-port"):
        server = make_server(host, port, Probed(registry, pulse), _Server, _Silent)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)
