"""Settings of the static layer: texts, graph, HGNN and its training.

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

    model:      `auto` (the packaged all-MiniLM-L6-v2, else the hub's), a folder, or a hub name
                (for example a multilingual model): see [text models](text-models.md).
    revision:   commit of a model on the hub; empty takes its main branch.
    backend:    what computes the vectors. `torch`: PyTorch, on any device. `onnx`: ONNX Runtime,
                the same vectors twice as fast on a CPU. `int8`: ONNX Runtime with weights of 8
                bits, three times as fast, slightly different vectors. `static`: a table of token
                vectors distilled from the model, a hundred times as fast, for catalogues of
                millions; much coarser. `auto`: `onnx` on a CPU if `compiled` names a folder,
                `torch` on an accelerator and for a model that ONNX Runtime cannot run.
    batch_size: texts encoded at once.
    max_tokens: longer texts are cut; the cost of a text grows with its tokens.
    device:     of PyTorch: `auto` (an accelerator where there is one), `cpu`, `cuda`, ...
    cache:      file of known vectors; empty keeps none. The backend `static` has no use for it.
    compiled:   folder of what the backends make of the model; empty makes it in every process.
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
    """Which co-interactions become edges. The papers keep all; the rest is ours.

    min_count:  users that two items must share.
    max_degree: an edge stays when it is among the `max_degree` heaviest of either end, per
                relation, by weight count / (sqrt(users_i * users_j) + shrinkage);
                0 keeps every edge.
    shrinkage:  users added to the weight's denominator, so that two items with one common
                user are not thought inseparable.
    separate_types: up to this many item types, each pair of types is a relation (the papers'
                form). With more types the relations are folded into two: edges inside a type,
                and edges between types (ADR 0042).
    """

    min_count: int = 1
    max_degree: int = 64
    shrinkage: float = SHRINKAGE
    separate_types: int = 4


@dataclass(frozen=True, kw_only=True)
class HGNNSettings:
    """Shape of the model. The papers state two layers and text features; the rest is ours.

    layers:         rounds of message passing.
    hidden:         width of the inner layers.
    output:         width of the item vectors.
    activation:     sigma, of messages and updates.
    last_activation: apply sigma to the last layer's updates too, as the papers do. Without it,
                    vectors are not confined to the directions that sigma leaves: HR@10 of the
                    vectors alone on lfm1m .209 and .224 against .184 and .196 (two seeds).
    structure:      width of the structural node features (see static_layer.structure); 0 for
                    the papers' form, text alone.
    text_gain:      factor on the unit text vectors, and
    structure_gain: on the unit structural features, so that neither drowns in the biases.
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

    Ours differ where it was measured to pay, on the simulated world (5,000 items, 384,000 edges)
    and one core: three epochs of batch 1,024 at 3e-3 took 33 s of CPU and reached HR@10
    .33 / .20 (audiobook / podcast); the text vectors have .10 / .06.

    epochs:               at most this many.
    patience:             epochs without a better validation MRR before training stops.
    batch_size:           edges per step. A step on a small graph costs nearly the same for 256 as
                          for 1,024 edges, since both reach most of the nodes.
    learning_rate:        of Adam.
    loss:                 `contrastive` (InfoNCE, ours: HR@10 of the vectors alone on lfm1m .20
                          against .18) or `hinge` (the paper's).
    margin:               of the hinge loss, in cosine (measured: .05 .29, .1 .30, .2 .26, .3 .22,
                          .5 .16 HR@10 on audiobooks, structure_gain 16).
    temperature:          of the contrastive loss.
    negatives:            items drawn per step, shared by its edges (the papers do not say).
    fan_outs:             neighbours per relation, one per layer, input side first; 0 takes all.
    balanced:             cut every relation to the smallest one's edges, drawn again each epoch.
    edge_draw:            chance of an edge to be drawn: `uniform` (the paper's), or by `count`,
                          `cosine` or `ppmi` (see links.edge_chances; compared in
                          benchmarks/HGNN.md).
    in_batch:             the step's other positives are negatives too; they are drawn as often
                          as they have edges, so the vectors learn less of popularity.
    cold_share:           share of edges whose anchor is known by text alone, so that the
                          model learns where an item without edges belongs; 0 in the paper.
    validation_share:     share of the edges held back, and
    max_validation_edges: at most this many.
    max_edges_per_epoch:  bounds an epoch, and with it the time between validations; 0 does not.
    max_seconds:          emergency stop, after the first step that ends later; 0: none. A training
                          that the clock stopped is not reproducible by seed: the log warns, and the
                          bundle's `stopped_by` says `clock`. Limit the work by `epochs` instead.
    tune_text:            layers of the text encoder, counted from its end, that learn with the
                          HGNN; 0 trains none. For measuring: `segue static build` refuses it
                          (benchmarks/HGNN.md has the measured effect).
    tune_learning_rate:   of these layers.
    tune_texts:           texts of a step that the gradient reaches, those of the items known by
                          text alone first; the others are as they were after the last epoch. A
                          text costs three times these layers' part of an encoding.
    sampler:              `torch`, or `dgl` (needs the dgl extra).
    device:               `auto`, `cpu`, `cuda`, ...
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

    recipe:          `default` (ours) or `paper` (paper B): see `recipe_of`.
    text:            how texts become vectors.
    graph:           which co-interactions become edges.
    hgnn:            shape of the model.
    train:           how the model learns.
    warm_start:      go on from the last bundle, where types, text model and `hgnn` are the same:
                     the model begins with its weights. Not in the recipe `paper`.
    keep:            with `warm_start`, the share of an item's vector that is its last one's; 0
                     takes the new vectors alone.
    inference_chunk: nodes whose vectors are computed at once.
    mapped_above:    with more items than this, text vectors lie in a memory-mapped file (below,
                     they take 0.3 GiB at most).
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
