"""`segue` with a file in the place of Kafka: announcements become its lines.

    python -m tests.segue.announcing FILE static build ...

Several processes may share the file, which then shows how many of them announced.
"""

import sys
from pathlib import Path

import torch

import agents.outputs
import segue.rights
from segue.cli import app

FILE = Path(sys.argv[1])


class FileOutputs:
    """Stands in for agents.outputs.ProducerOutputs."""

    def __init__(self, kafka: object) -> None:
        pass

    async def __aenter__(self) -> "FileOutputs":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        with FILE.open("ab") as file:
            file.write((value or b"") + b"\n")

    async def flush(self) -> None:
        return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    agents.outputs.ProducerOutputs = FileOutputs  # type: ignore[assignment,misc]
    segue.rights.require_rights_of = lambda *_: None
    app(sys.argv[2:])
