"""What each process of test_parallel.py runs: train on the small world, save the weights.

Arguments: a folder, then the settings of each training.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from static_layer.graph import build_graph
from static_layer.parallel import process_group
from static_layer.settings import GraphSettings, HGNNSettings, TrainSettings
from static_layer.train import Training, train
from tests.static_layer.conftest import make_community


def training_of(settings: TrainSettings) -> Training:
    community = make_community()
    merged = community.merged
    graph = build_graph(merged.co_interactions, merged.catalogue, GraphSettings(max_degree=8))
    shape = HGNNSettings(hidden=16, output=16)
    return train(graph, community.text, shape, settings, seed=3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with process_group() as parallel:
        for number, text in enumerate(sys.argv[2:]):
            fields = json.loads(text)
            training = training_of(TrainSettings(**fields | {"fan_outs": (*fields["fan_outs"],)}))
            name = f"{number}-{parallel.rank}"
            save_file(training.model.state_dict(), folder / f"{name}.safetensors")
            figures = {
                "size": parallel.size, "loss": training.loss, "stopped_by": training.stopped_by,
            }  # fmt: skip
            (folder / f"{name}.json").write_text(json.dumps(figures))
