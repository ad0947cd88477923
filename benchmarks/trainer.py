"""Examples a second of the trainer, beside the bare matrix products of one of its steps.

Both run on the same core in turns, in slices of the same number of steps, so that what else the
machine does meets both. The products are those that no way of writing a step can do without: for
each linear layer forward, the gradient of its weights, and the gradient of its input where that
comes from weights; and the three of the logits. Nothing else of a step is in them: no pooling of
histories, no embeddings, no softmax, no optimiser.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import nn

from benchmarks.machine import cpu_model, written
from dynamic_layer import DynamicSettings, ExampleBatch, Trainer, recipe
from dynamic_layer.items.features import GENRES_PER_ITEM, ItemFeatures, UserFeatures
from dynamic_layer.towers.two_tower import TwoTower
from segue.screen import console

__all__ = ["TrainerPlan", "run", "show"]

TEXT, HGNN = 384, 128  # widths of the text encoder's and the HGNN's vectors
_DAY_MS = 86_400_000
_WARM = 10  # steps before the first is timed


@dataclass(frozen=True, kw_only=True)
class TrainerPlan:
    """What is measured.

    recipe:  of the settings: `default` or `paper`; both have towers of 512, 256 and 128.
    items:   in the catalogue, of `types` types.
    history: entries of an example's history.
    steps:   of a slice; `repeat` slices of each, in turns, are timed.
    """

    recipe: str = "default"
    items: int = 20_000
    types: int = 2
    history: int = 50
    steps: int = 40
    repeat: int = 5
    seed: int = 1


@dataclass
class _Items:
    """A static bundle of random vectors."""

    item_keys: Any
    item_ids: list[str]
    item_types: list[str]
    languages: list[str | None]
    genres: list[list[str] | None]
    titles: list[str | None]
    text: Any
    hgnn: Any
    manifest: dict[str, Any]


def _items(plan: TrainerPlan, rng: np.random.Generator) -> _Items:
    n = plan.items
    return _Items(
        item_keys=rng.permutation(np.arange(1, n + 1, dtype=np.uint64)),
        item_ids=[f"i{row}" for row in range(n)],
        item_types=[f"t{row % plan.types}" for row in range(n)],
        languages=["en"] * n,
        genres=[["drama"]] * n,
        titles=[None] * n,
        text=_unit(rng.normal(size=(n, TEXT))),
        hgnn=_unit(rng.normal(size=(n, HGNN))),
        manifest={"name": "bench", "offsets": {}},
    )


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _examples(plan: TrainerPlan, items: _Items, rng: np.random.Generator, n: int) -> ExampleBatch:
    """Events on items of which few are taken often; histories are full."""
    popular = items.item_keys[
        np.minimum(rng.zipf(1.2, size=n * (plan.history + 1)), plan.items) - 1
    ]
    time_ms = 1_700_000_000_000 + np.sort(rng.integers(_DAY_MS, size=n))
    age = np.sort(rng.integers(1, 30 * _DAY_MS, size=(n, plan.history)), axis=1)
    return ExampleBatch(
        topic="events",
        partition=0,
        offset=np.arange(n),
        target=popular[:n],
        timestamp=time_ms,
        strong=np.ones(n, np.bool_),
        repeat=np.zeros(n, np.bool_),
        country=["DE"] * n,
        birth_year=np.full(n, 1990, np.int16),
        indptr=np.arange(n + 1) * plan.history,
        history_item=popular[n:],
        history_time=(time_ms[:, None] - age).ravel(),
        history_strong=rng.random(n * plan.history) < 0.7,
    )


def _products(settings: DynamicSettings, plan: TrainerPlan) -> list[tuple[int, int, int, int]]:
    """Rows, input, output of each linear layer of a step, and the inputs that need a gradient.

    Read from the towers as they are called, with as many items as a step has at most.
    """
    width, b = TEXT + HGNN, settings.batch_size
    m = b + settings.loss.uniform_negatives
    model = TwoTower(width, plan.types, settings.towers)
    found: list[tuple[int, int, int, int]] = []

    def note(layer: nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        needed = sum(part.shape[-1] for part in inputs if part.requires_grad)
        rows = output.numel() // layer.out_features
        found.append((rows, layer.in_features, layer.out_features, needed))

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(note)
    content = torch.zeros(m, width)
    number = torch.zeros(m, dtype=torch.int64)
    model.item(
        ItemFeatures(
            type_number=number, language=number, genres=torch.zeros(m, GENRES_PER_ITEM).long(),
            content=content,
        )
    )  # fmt: skip
    model.user(
        UserFeatures(
            history=torch.zeros(b, 1).long(), age_s=torch.zeros(b, 1),
            strong=torch.ones(b, 1, dtype=torch.bool), country=torch.zeros(b).long(),
            age=torch.zeros(b).long(),
        ),
        content, number,
    )  # fmt: skip
    return [*found, (b, settings.towers.layers[-1], m, settings.towers.layers[-1])]


def _bare(products: list[tuple[int, int, int, int]], seed: int) -> tuple[Callable[[], None], int]:
    """Return one step's products as a function, and their floating point operations."""
    generator = torch.Generator().manual_seed(seed)
    parts, flops = [], 0
    for rows, width, out, needed in products:
        x, w, g = (torch.randn(*shape, generator=generator)
                   for shape in ((rows, width), (width, out), (rows, out)))  # fmt: skip
        made = [torch.empty(rows, out), torch.empty(width, out), torch.empty(rows, needed)]
        parts.append((x, w, g, made))
        flops += 2 * rows * out * (2 * width + needed)

    def step() -> None:
        for x, w, g, (y, dw, dx) in parts:
            torch.mm(x, w, out=y)
            torch.mm(x.T, g, out=dw)
            if dx.numel():
                torch.mm(g, w[: dx.shape[1]].T, out=dx)

    return step, flops


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def run(plan: TrainerPlan, file: Path) -> dict[str, Any]:
    """Measure on one thread, and write the report to `file`.

    Rates and the ratio are of processor time: on one thread that is wall time without what other
    processes took.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        report = _measured(plan)
    finally:
        torch.set_num_threads(threads)
    return written(report, file)


def _measured(plan: TrainerPlan) -> dict[str, Any]:
    settings = recipe(plan.recipe)
    # So many epochs that there is always something to replay; the ring holds all of it.
    settings = replace(
        settings, replay=replace(settings.replay, epochs=1e9, capacity=1 << 15, holdout_share=0.0)
    )
    rng = np.random.default_rng(plan.seed)
    items = _items(plan, rng)
    trainer = Trainer(items, settings, seed=plan.seed)
    trainer.add(_examples(plan, items, rng, 1 << 14))
    products = _products(settings, plan)
    bare, flops = _bare(products, plan.seed)
    trainer.train(max_steps=_WARM)
    bare()
    slices = []
    for _ in range(plan.repeat):
        wall, cpu = _timed(lambda: trainer.train(max_steps=plan.steps))
        bare_wall, bare_cpu = _timed(lambda: [bare() for _ in range(plan.steps)])
        examples = plan.steps * settings.batch_size
        slices.append(
            {
                "examples_per_second": examples / cpu,
                "bare_examples_per_second": examples / bare_cpu,
                "ratio": bare_cpu / cpu,
                "examples_per_second_wall": examples / wall,
                "bare_gflops": plan.steps * flops / bare_cpu / 1e9,
                "wall_per_cpu": (wall + bare_wall) / (cpu + bare_cpu),
            }
        )
    return {
        "machine": cpu_model(),
        "torch": torch.__version__,
        "plan": asdict(plan),
        "batch_size": settings.batch_size,
        "layers": list(settings.towers.layers),
        "products": [list(product) for product in products],
        "gflop_per_step": flops / 1e9,
        **{
            name: sorted(one[name] for one in slices)[len(slices) // 2]
            for name in ("examples_per_second", "bare_examples_per_second", "ratio")
        },
        "ratio_range": [min(s["ratio"] for s in slices), max(s["ratio"] for s in slices)],
        "slices": slices,
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    plan = report["plan"]
    layers = "-".join(str(width) for width in report["layers"])
    table = Table(
        title=f"trainer, recipe {plan['recipe']}, {layers}, one core, {report['machine']}"
    )
    for name in ("examples/s", "bare products: examples/s", "Gflop/s", "ratio"):
        table.add_column(name, justify="right")
    for one in report["slices"]:
        table.add_row(
            f"{one['examples_per_second']:,.0f}", f"{one['bare_examples_per_second']:,.0f}",
            f"{one['bare_gflops']:.1f}", f"{one['ratio']:.3f}",
        )  # fmt: skip
    console.print(table)
    low, high = report["ratio_range"]
    console.print(
        f"median: {report['examples_per_second']:,.0f} examples/s, ratio {report['ratio']:.3f} "
        f"({low:.3f}-{high:.3f})"
    )
