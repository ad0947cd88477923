"""Prequential evaluation: a data set as a stream; each event is asked for, then learned from."""

from evaluation.prequential.experiment import ARMS, Replayed, SegueSettings, UnknownArm, run
from evaluation.prequential.stream import PrequentialSettings

__all__ = ["ARMS", "PrequentialSettings", "Replayed", "SegueSettings", "UnknownArm", "run"]
