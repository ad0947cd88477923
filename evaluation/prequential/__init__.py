"""Prequential evaluation: a data set as a stream; each event is asked for just before it."""

from evaluation.prequential.experiment import ARMS, Replayed, UnknownArm, run
from evaluation.prequential.stream import PrequentialSettings

__all__ = ["ARMS", "PrequentialSettings", "Replayed", "UnknownArm", "run"]
