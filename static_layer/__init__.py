"""The static layer: text vectors, item-item graph, HGNN; one vector space for all item types."""

from static_layer.bundle import BundleError, StaticBundle
from static_layer.graph import GraphSettings, HeteroGraph, build_graph
from static_layer.hgnn import HGNN, HGNNSettings
from static_layer.item_text import catalogue_texts, item_text
from static_layer.job import StaticSettings, build, build_together, recipe_of
from static_layer.parallel import Parallel, process_group
from static_layer.progress import Progress, silent
from static_layer.ray_settings import ClusterFailed, RaySettings
from static_layer.sharing import share_state
from static_layer.text import TextEncoder, TextSettings
from static_layer.text_model import TextModelError
from static_layer.train_settings import TrainSettings
from static_layer.warm_start import last_bundle

__all__ = [
    "HGNN",
    "BundleError",
    "ClusterFailed",
    "GraphSettings",
    "HGNNSettings",
    "HeteroGraph",
    "Parallel",
    "Progress",
    "RaySettings",
    "StaticBundle",
    "StaticSettings",
    "TextEncoder",
    "TextModelError",
    "TextSettings",
    "TrainSettings",
    "build",
    "build_graph",
    "build_together",
    "catalogue_texts",
    "item_text",
    "last_bundle",
    "process_group",
    "recipe_of",
    "share_state",
    "silent",
]
