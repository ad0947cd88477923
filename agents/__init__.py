"""Agents: the objects that join the rooms, and the Faust apps around them."""

from agents.announcing import announce
from agents.settings import TrainerSettings, WorkerSettings
from agents.tally import Tally
from agents.train import Train
from agents.worker import Worker

__all__ = ["Tally", "Train", "TrainerSettings", "Worker", "WorkerSettings", "announce"]
