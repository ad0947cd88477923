"""Splits, metrics, baselines and the papers' protocol."""

from evaluation import metrics
from evaluation.baselines import Scorer, item_cf, popularity, vector_knn
from evaluation.dataset import Dataset, DatasetError, Interactions, dataset_of, read_dataset
from evaluation.protocol import Protocol, Ranker, Result, evaluate, ranker_of
from evaluation.split import HeldOut, TimeSplit, held_out, time_split

__all__ = [
    "Dataset",
    "DatasetError",
    "HeldOut",
    "Interactions",
    "Protocol",
    "Ranker",
    "Result",
    "Scorer",
    "TimeSplit",
    "dataset_of",
    "evaluate",
    "held_out",
    "item_cf",
    "metrics",
    "popularity",
    "ranker_of",
    "read_dataset",
    "time_split",
    "vector_knn",
]
