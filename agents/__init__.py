"""Agents: the objects that join the rooms, and the Faust apps around them.

An agent is a page here: `ingest`, `catalog`, `recommend`, `erasure`, `train`; `worker` joins
those of a worker. What they rest on is in folders: `bundles` on their way from trainer to
workers, arms and canaries in `experiments`, what the agents of a worker share in `working`, and
the trainer's in `training`. `apps` runs them all: on Kafka, around the embedded log, or over a
log once more.
"""

from agents.bundles.announcing import announce
from agents.settings import TrainerSettings, WorkerSettings
from agents.train import Train
from agents.worker import Worker
from agents.working.tally import Tally

__all__ = ["Tally", "Train", "TrainerSettings", "Worker", "WorkerSettings", "announce"]
