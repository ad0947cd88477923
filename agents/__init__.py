"""Agents: objects that connect the packages, and the Faust apps that run them.

Each agent is a module: `ingest`, `catalog`, `recommend`, `erasure`, `train`; `worker` combines
those of a worker. Subpackages: `bundles` (from trainer to workers), `experiments` (arms and
canaries), `working` (shared by the agents of a worker), `training` (the trainer's). `apps` runs the
agents: on Kafka, on the embedded log, or in a replay.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
