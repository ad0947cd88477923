"""Console: the HTTP API and the web page, on a replica of the workers' states."""

from console.app import create_app
from console.metrics import ConsoleMetrics
from console.operations import EmbeddedWriter, KafkaWriter, Operations
from console.replica import Replica
from console.serving import Serving
from console.settings import ConsoleSettings, TokenSettings

__all__ = [
    "ConsoleMetrics",
    "ConsoleSettings",
    "EmbeddedWriter",
    "KafkaWriter",
    "Operations",
    "Replica",
    "Serving",
    "TokenSettings",
    "create_app",
]
