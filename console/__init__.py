"""Console: the HTTP API and the web page, on a replica of the workers' states."""

from console.app import create_app
from console.bundles import Bundles
from console.erasures import Erasures
from console.metrics import ConsoleMetrics
from console.replica import Replica
from console.serving import Serving
from console.settings import ConsoleSettings, TokenSettings
from console.writers import EmbeddedWriter, KafkaWriter

__all__ = [
    "Bundles",
    "ConsoleMetrics",
    "ConsoleSettings",
    "EmbeddedWriter",
    "Erasures",
    "KafkaWriter",
    "Replica",
    "Serving",
    "TokenSettings",
    "create_app",
]
