"""Which rows reproduce the papers' tables, and how each is made.

A row is a model with one thing changed. All rows of a world share one past, one set of held-out
items, one budget and the same seeds, so that two rows differ in what their names say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Literal

from dynamic_layer import DynamicBundle, DynamicSettings, recipe
from evaluation.baselines import Scorer, popularity, vector_knn
from evaluation.item_graph import Pair
from evaluation.reproduction.models import Bench, GraphForm, Reads, examples_from, spread
from static_layer import StaticSettings, TrainSettings, recipe_of

__all__ = ["Fitter", "RowPlan", "WorldPlan", "in_papers_form", "rows_of"]

_SIDE = ("hgnn-paper", "hgnn-dgl", "hgnn-users", "2t-paper", "2t-hgnn-paper")


@dataclass(frozen=True, kw_only=True)
class WorldPlan:
    """How one data set is asked.

    name:         of the world.
    types:        its item types, that with the most events first (the papers': podcasts).
    test_days:    days that are held out; example_days: days before the split whose events are the
                  towers' examples; the HGNN's graph in the towers ends where they begin.
    hgnn, paper:  the static layer's settings in our form and in the papers', budgets bounded.
    towers:       settings of the two-tower in our form.
    paper_epochs: epochs of the papers' two-tower (theirs: 10).
    weak:         whether there are weak signals.
    side_seeds:   seeds of rows beside the main ones, at most: the papers' recipe, users as nodes,
                  ablations, single types.
    """

    name: str
    types: tuple[str, ...]
    test_days: float
    example_days: float
    hgnn: StaticSettings
    paper: StaticSettings
    towers: DynamicSettings
    paper_epochs: float = 10.0
    weak: bool = False
    side_seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """A row: its name, what it is, and how it is fitted on a bench with a seed.

    seeds: that it may take, at most: 1 where no seed changes it, 0 for no limit.
    """

    name: str
    about: str
    fit: Callable[["Fitter", int], Scorer]
    seeds: int = 0
    group: str = "models"


def in_papers_form(settings: StaticSettings, *, epochs: int, edges: int) -> StaticSettings:
    """Return the papers' recipe with so many epochs of so many edges at most.

    The papers train up to 50 epochs over all edges of the smallest relation.
    """
    found = recipe_of(replace(settings, recipe="paper"))
    train: TrainSettings = replace(found.train, epochs=epochs, max_edges_per_epoch=edges)
    return replace(found, train=train)


@dataclass(kw_only=True)
class Fitter:
    """Fits rows on one bench; towers that two rows share are trained once."""

    bench: Bench
    plan: WorldPlan
    made: dict[tuple[object, ...], tuple[Bench, DynamicBundle]] = field(default_factory=dict)

    @property
    def examples_ms(self) -> int:
        """The moment from which events are the towers' examples."""
        return examples_from(self.bench.at_ms, self.plan.example_days)

    def form(
        self,
        *,
        whole: bool,
        paper: bool = False,
        without: Sequence[Pair] = (),
        sampler: Literal["torch", "dgl"] = "torch",
    ) -> GraphForm:
        """Return an HGNN's form. whole: of all the past, instead of what precedes the examples."""
        static = self.plan.paper if paper else self.plan.hgnn
        return GraphForm(
            static=replace(static, train=replace(static.train, sampler=sampler)),
            until_ms=self.bench.at_ms if whole else self.examples_ms,
            without=tuple(without),
        )

    def towers(
        self, reads: Reads, seed: int, form: GraphForm | None = None, *, paper: bool = False
    ) -> DynamicBundle:
        """Return trained towers in our form or the papers'."""
        settings = self.plan.towers
        if paper:
            theirs = recipe("paper")
            replay = replace(
                theirs.replay,
                epochs=self.plan.paper_epochs,
                window_days=settings.replay.window_days,
            )
            settings = replace(theirs, replay=replay)
        key = (reads, seed, form, paper)
        if key not in self.made:
            self.made[key] = (
                self.bench,
                self.bench.towers(
                    reads, settings, examples_from_ms=self.examples_ms, seed=seed, form=form
                ),
            )
        return self.made[key][1]

    def scorer(self, bundle: DynamicBundle, *, demand: bool = False) -> Scorer:
        """Score by towers; demand: with recent popularity, as they are served."""
        return self.bench.two_tower(bundle, popularity=demand)


def rows_of(plan: WorldPlan) -> list[RowPlan]:
    """Return the rows of a world, those of the papers' main tables first."""
    rows = [*_models(), *_ablations(plan)]
    if find_spec("dgl") is None:  # an extra
        rows = [row for row in rows if row.name != "hgnn-dgl"]
    if len(plan.types) > 1:
        rows += [_one_type(name) for name in plan.types]
    return [
        replace(row, seeds=plan.side_seeds) if row.group != "models" or row.name in _SIDE else row
        for row in rows
    ]


def _models() -> list[RowPlan]:
    def towers(reads: Reads, *, paper: bool = False, demand: bool = False) -> Fit:
        def fit(at: Fitter, seed: int) -> Scorer:
            form = at.form(whole=paper, paper=paper) if reads == "hgnn" else None
            return at.scorer(at.towers(reads, seed, form, paper=paper), demand=demand)

        return fit

    def counts(at: Fitter, seed: int) -> Scorer:
        return popularity(at.bench.events, len(at.bench.dataset.items))

    def text(at: Fitter, seed: int) -> Scorer:
        return vector_knn(at.bench.events, at.bench.text, len(at.bench.dataset.users))

    return [
        RowPlan(name="popularity", about="users per item, all time", fit=counts, seeds=1),
        RowPlan(name="llm-knn", about="mean of the user's text vectors", fit=text, seeds=1),
        RowPlan(
            name="hgnn",
            about="mean of the user's HGNN vectors, our recipe",
            fit=lambda at, seed: at.bench.hgnn(at.form(whole=True), seed),
        ),
        RowPlan(
            name="hgnn-paper",
            about="the same, the papers' recipe",
            fit=lambda at, seed: at.bench.hgnn(at.form(whole=True, paper=True), seed),
        ),
        RowPlan(
            name="hgnn-dgl",
            about="hgnn, neighbours sampled by DGL",
            fit=lambda at, seed: at.bench.hgnn(at.form(whole=True, sampler="dgl"), seed),
        ),
        RowPlan(
            name="hgnn-users",
            about="users are nodes of the graph, our recipe",
            fit=lambda at, seed: at.bench.hgnn_with_users(at.form(whole=True), seed),
        ),
        RowPlan(name="2t", about="two-tower on text, our recipe", fit=towers("text")),
        RowPlan(
            name="2t-control",
            about="2t with two scalars: the item is new, log of its old count",
            fit=towers("control"),
        ),
        RowPlan(
            name="2t-hgnn",
            about="2t with HGNN vectors, whose graph ends before the first example",
            fit=towers("hgnn"),
        ),
        RowPlan(
            name="2t-demand",
            about="2t with recent popularity, as served",
            fit=towers("text", demand=True),
        ),
        RowPlan(
            name="2t-hgnn-demand",
            about="2t-hgnn with recent popularity, as served",
            fit=towers("hgnn", demand=True),
        ),
        RowPlan(
            name="2t-paper",
            about="the papers' two-tower (logQ, in-batch negatives, no recency)",
            fit=towers("text", paper=True),
        ),
        RowPlan(
            name="2t-hgnn-paper",
            about="the same with vectors of the papers' HGNN on the whole past",
            fit=towers("hgnn", paper=True),
        ),
    ]


Fit = Callable[[Fitter, int], Scorer]


def _ablations(plan: WorldPlan) -> list[RowPlan]:
    def without(*pairs: Pair) -> Fit:
        def fit(at: Fitter, seed: int) -> Scorer:
            form = at.form(whole=False, without=pairs)
            return at.scorer(at.towers("hgnn", seed, form))

        return fit

    def unbalanced(at: Fitter, seed: int) -> Scorer:
        form = at.form(whole=False)
        train = replace(form.static.train, balanced=False)
        form = replace(form, static=replace(form.static, train=train))
        return at.scorer(at.towers("hgnn", seed, form))

    def leaking(at: Fitter, seed: int) -> Scorer:
        return at.scorer(at.towers("hgnn", seed, at.form(whole=True)))

    def no_weak(at: Fitter, seed: int) -> Scorer:
        other = Fitter(bench=at.bench.without_weak(), plan=at.plan)
        return other.scorer(other.towers("hgnn", seed, other.form(whole=False)))

    rows = [
        RowPlan(
            name="own-events",
            about="2t-hgnn, the graph holds the examples' own events",
            fit=leaking,
            group="ablations",
        )
    ]
    if plan.weak:
        rows.append(
            RowPlan(
                name="no-weak",
                about="2t-hgnn without weak signals",
                fit=no_weak,
                group="ablations",
            )
        )
    if len(plan.types) < 2:
        return rows
    major, minor = plan.types[:2]
    across: Pair = (min(major, minor), max(major, minor))
    cut: dict[str, tuple[str, tuple[Pair, ...]]] = {
        "no-major": (f"2t-hgnn without {major}-{major} edges", ((major, major),)),
        "no-minor": (f"2t-hgnn without {minor}-{minor} edges", ((minor, minor),)),
        "no-across": (f"2t-hgnn without {major}-{minor} edges", (across,)),
        "minor-only": (f"2t-hgnn, {minor}-{minor} edges only", ((major, major), across)),
        "major-only": (
            f"2t-hgnn, {major}-{major} edges only: {minor} items are inductive",
            ((minor, minor), across),
        ),
    }
    rows.insert(
        0,
        RowPlan(
            name="no-balance",
            about="2t-hgnn without the balanced sampler",
            fit=unbalanced,
            group="ablations",
        ),
    )
    return rows + [
        RowPlan(name=name, about=about, fit=without(*pairs), group="ablations")
        for name, (about, pairs) in cut.items()
    ]


def _one_type(item_type: str) -> RowPlan:
    """Make the row of a 2T-HGNN that knows one item type alone: the papers' type-specific one."""

    def fit(at: Fitter, seed: int) -> Scorer:
        part, rows = at.bench.of_type(item_type)
        other = Fitter(bench=part, plan=at.plan)
        scorer = other.scorer(other.towers("hgnn", seed, other.form(whole=False)))
        return spread(scorer, rows, len(at.bench.dataset.items))

    return RowPlan(
        name=f"only-{item_type}",
        about=f"2t-hgnn made of {item_type} alone: graph, history and examples",
        fit=fit,
        group="claims",
    )
