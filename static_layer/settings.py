"""Settings of the static layer: texts, graph, HGNN and its training, Ray.

Imports nothing heavy: every command reads settings, and few train.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

SHRINKAGE = 10.0


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How texts become vectors.

    model:      `auto` (the packaged all-MiniLM-L6-v2, else the hub's), `multilingual` (15
                languages, with the extra of this name), a folder, or a hub name: see
                [text models](text-models.md).
    revision:   commit of a model on the hub; empty takes its main branch.
    backend:    what computes the vectors. `torch`: PyTorch, on any device. `onnx`: ONNX Runtime,
                the same vectors twice as fast on a CPU. `int8`: ONNX Runtime with weights of 8
                bits, three times as fast, slightly different vectors. `static`: a table of token
                vectors distilled from the model, a hundred times as fast, for catalogues of
                millions; much coarser. `auto`: `onnx` on a CPU if `compiled` names a folder,
                `torch` on an accelerator and for a model that ONNX Runtime cannot run.
    batch_size: texts encoded at once.
    max_tokens: longer texts are cut; the cost of a text grows with its tokens.
    device:     device of PyTorch: `auto` (an accelerator where there is one), `cpu`, `cuda`, ...
    cache:      file of known vectors; empty keeps none. The backend `static` does not use it.
    compiled:   folder of exported models and token tables; empty makes them in every process.
    """

    model: str = "auto"
    revision: str = ""
    backend: Literal["auto", "torch", "onnx", "int8", "static"] = "auto"
    batch_size: int = 64
    max_tokens: int = 128
    device: str = "auto"
    cache: str = ""
    compiled: str = ""


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """Which co-interactions become edges. The papers keep all of them; the limits are ours.

    min_count: minimum number of users that two items share.
    max_degree: an edge is kept if it is among the `max_degree` heaviest of one of its items, per
        relation, by weight count / (sqrt(users_i * users_j) + shrinkage); 0 keeps every edge.
    shrinkage: number added to the weight's denominator, so that one common user of two rare items
        does not make a heavy edge.
    separate_types: with at most this many item types, each pair of types is a relation (as in the
        papers). With more types there are two relations: edges inside a type, and edges between
        types (ADR 42).
    """

    min_count: int = 1
    max_degree: int = 64
    shrinkage: float = SHRINKAGE
    separate_types: int = 4


@dataclass(frozen=True, kw_only=True)
class HGNNSettings:
    """Shape of the model. The papers state two layers and text features; the rest is ours.

    layers: rounds of message passing.
    hidden: width of the inner layers.
    output: width of the item vectors.
    activation: activation function of messages and updates.
    last_activation: apply the activation to the updates of the last layer too, as the papers do.
        Without it HR@10 of the vectors alone on lfm1m is .209 and .224 instead of .184 and .196
        (two seeds).
    structure: width of the structural node features (see static_layer.features); 0 for text
        features alone, as in the papers.
    text_gain: factor on the normalised text vectors; it keeps them large compared with the biases.
    structure_gain: factor on the normalised structural features, for the same reason.
    """

    layers: int = 2
    hidden: int = 128
    output: int = 128
    activation: Literal["relu", "leaky_relu", "tanh"] = "leaky_relu"
    last_activation: bool = False
    structure: int = 64
    text_gain: float = 8.0
    structure_gain: float = 32.0


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the HGNN learns. Paper B: Adam, 1e-3, batch 256, 50 epochs, patience 10, 10 % held back.

    Our defaults differ where a measurement showed a gain. On the simulated world (5,000 items,
    384,000 edges) and one core, three epochs of batch 1,024 at 3e-3 took 33 s of CPU and reached
    HR@10 .33 / .20 (audiobook / podcast); the text vectors have .10 / .06.

    epochs: maximum number of epochs.
    patience: epochs without a better validation MRR before training stops.
    batch_size: edges per step. On a small graph a step costs nearly the same for 256 as for 1,024
        edges, since both reach most of the nodes.
    learning_rate: learning rate of Adam.
    loss: `contrastive` (InfoNCE, ours: HR@10 of the vectors alone on lfm1m .20 instead of .18) or
        `hinge` (the paper's).
    margin: margin of the hinge loss, in cosine (HR@10 on audiobooks with structure_gain 16: .05
        gives .29, .1 .30, .2 .26, .3 .22, .5 .16).
    temperature: temperature of the contrastive loss.
    negatives: items drawn per step, shared by all edges of the step (the papers do not state a
        number).
    fan_outs: neighbours per relation, one number per layer, input side first; 0 takes all.
    balanced: limit every relation to as many edges as the smallest one, drawn again in each epoch.
    edge_draw: probability with which an edge is drawn: `uniform` (the paper's), or by `count`,
        `cosine` or `ppmi` (see links.edge_chances; compared in benchmarks/HGNN.md).
    in_batch: use the other positives of the step as negatives too. They are drawn as often as they
        have edges, so the vectors learn less of popularity.
    cold_share: share of edges whose first item is known by text alone, so that the model learns to
        place items without edges; 0 in the paper.
    validation_share: share of the edges that are held back for validation.
    max_validation_edges: maximum number of these edges.
    max_edges_per_epoch: maximum number of edges in an epoch, and so between two validations; 0 sets
        no limit.
    max_seconds: emergency stop after the first step that ends later than this; 0 for none. A
        training that it stopped is not reproducible by seed: the log warns, and the bundle's
        `stopped_by` is `clock`. To limit the work, set `epochs` instead.
    tune_text: number of last layers of the text encoder that train with the HGNN; 0 trains none.
        For measurements only: `segue static build` refuses it (benchmarks/HGNN.md has the measured
        effect).
    tune_learning_rate: learning rate of these layers.
    tune_texts: maximum number of texts per step that get a gradient, items known by text alone
        first; the others keep the vectors of the last epoch. A text costs three times what these
        layers cost in an encoding.
    sampler: `torch`, or `dgl` (needs the extra `dgl`).
    device: `auto`, `cpu`, `cuda`, ...
    """

    epochs: int = 50
    patience: int = 10
    batch_size: int = 1024
    learning_rate: float = 3e-3
    loss: Literal["hinge", "contrastive"] = "contrastive"
    margin: float = 0.1
    temperature: float = 0.1
    negatives: int = 512
    fan_outs: tuple[int, ...] = (10, 10)
    balanced: bool = True
    edge_draw: Literal["uniform", "count", "cosine", "ppmi"] = "uniform"
    in_batch: bool = False
    cold_share: float = 0.1
    validation_share: float = 0.1
    max_validation_edges: int = 4096
    max_edges_per_epoch: int = 50_000
    max_seconds: float = 0.0
    tune_text: int = 0
    tune_learning_rate: float = 2e-5
    tune_texts: int = 256
    sampler: Literal["torch", "dgl"] = "torch"
    device: str = "auto"

    def torch_device(self) -> "torch.device":
        """Return the device that `device` means on this machine."""
        import torch  # noqa: PLC0415 - takes seconds

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True, kw_only=True)
class StaticSettings:
    """Settings of the static layer.

    recipe: `default` (ours) or `paper` (paper B): see `recipe_of`.
    text: how texts become vectors.
    graph: which co-interactions become edges.
    hgnn: shape of the model.
    train: how the model learns.
    warm_start: start from the weights of the last bundle, if its item types, text model and `hgnn`
        are the same. Not in the recipe `paper`.
    keep: with `warm_start`, weight of an item's last vector in its new one; 0 uses only the new
        vector.
    inference_chunk: nodes whose vectors are computed at once.
    mapped_above: number of items above which text vectors are in a memory-mapped file (below it
        they take at most 0.3 GiB of memory).
    """

    recipe: Literal["default", "paper"] = "default"
    text: TextSettings = field(default_factory=TextSettings)
    graph: GraphSettings = field(default_factory=GraphSettings)
    hgnn: HGNNSettings = field(default_factory=HGNNSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    warm_start: bool = True
    keep: float = 0.5
    inference_chunk: int = 65_536
    mapped_above: int = 200_000


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Where the static job runs beyond one machine (needs the extra `ray`).

    address: host:port of a Ray cluster's head, `auto` (the cluster that this machine is part of),
        or `local` (processes on this machine, to try it); empty runs the job without Ray. Every
        machine needs the same version of Segue and access to the artifact store.
    workers: processes that train together.
    cpus: processors of each process.
    gpu: whether each process has a GPU of its own.
    retries: how often a training starts again after it lost a worker or a machine; the merge is not
        repeated.
    """

    address: str = ""
    workers: int = 2
    cpus: int = 1
    gpu: bool = False
    retries: int = 2


class ClusterFailed(RuntimeError):
    """The cluster could not be reached, or did not finish the job; the message says why."""
