"""Settings of the dynamic layer: towers, loss, replay, popularity, index and gate."""

from dataclasses import dataclass, field
from typing import Literal

from dynamic_layer.optional_settings import LiveGraphSettings, SequenceSettings

SEPARATE_TYPES = 4
NEAR = ("hgnn", "text")
"""Vectors of items that item-item weights are made of, beside counts; the weights' names."""
GROUPS = ("weights", "vectors", "shown", "towers", "sequence", "demand", "age", "user")
"""Groups of the features of a head; `vectors` has the weights of `NEAR`."""


@dataclass(frozen=True, kw_only=True)
class EaseSettings:
    """How item-item weights are fitted.

    ridge: number added to the diagonal (lambda of Steck 2019); a larger one trusts counts less.
    neighbours: maximum number of items to which an item has weights, those with the greatest
        cosine.
    min_users: items with fewer users have no weights.
    kept: maximum number of weights of an item by `cosine` and `next`.
    degree_cap: counts per item that are used for the fit, those with the greatest cosine.
    """

    ridge: float = 30.0
    neighbours: int = 64
    kept: int = 32
    min_users: int = 2
    degree_cap: int = 512


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Which features a head reads.

    groups:         of `GROUPS`; what is left out is neither computed nor learned.
    half_lives_days: recencies at which a history is summed; infinity counts all alike.
    demand_half_lives_days: half-lives of an item's demand, as in `Moment.demand`.
    smoothing:      count added before the logarithm of demand.
    shown_half_lives_days: half-lives of impressions; none where a head reads no impressions.
    """

    groups: tuple[str, ...] = GROUPS
    half_lives_days: tuple[float, ...] = (float("inf"), 30.0, 5.0)
    demand_half_lives_days: tuple[float, ...] = (1.0, 4.0, 14.0, 60.0, float("inf"))
    smoothing: float = 0.1
    shown_half_lives_days: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Shape and training of the ranking head.

    hidden: width of the hidden layer; 0 for a linear model.
    negatives: candidates of a list that compete with its positives, drawn again in each epoch.
    epochs: number of times that a list is trained on.
    batch_size: lists per step.
    learning_rate: learning rate of AdamW.
    weight_decay: weight decay of AdamW.
    averaging: decay per step of the averaged weights that are published.
    capacity: maximum number of lists kept for training; the newest are kept.
    few_lists: with fewer lists the head is linear (0: never): the weights of towers, demand and
        item-item weights that are most probable, given the lists and what is expected (ADR 87).
    few_strength: one over the variance of an expected weight, of features at unit variance.
    """

    hidden: int = 32
    negatives: int = 256
    epochs: float = 6.0
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    averaging: float = 0.98
    capacity: int = 16_384
    few_lists: int = 512
    few_strength: float = 500.0


@dataclass(frozen=True, kw_only=True)
class ListSettings:
    """A named list of recommendations.

    name: name of the list.
    item_types: item types in the list; empty for all.
    k: maximum number of items.
    repeats: `exclude` items of the user's history, `include` them among the others, or recommend
        `only` them.
    explain: write the reasons of each place beside it: docs/scores.md. Such a list is made for one
        user at a time, and more than once. While other users wait, it is made without reasons.
    """

    name: str
    item_types: tuple[str, ...] = ()
    k: int = 10
    repeats: Literal["exclude", "include", "only"] = "exclude"
    explain: bool = False


@dataclass(frozen=True, kw_only=True)
class TowerSettings:
    """Shape of the two towers.

    layers: widths of each tower's layers; the last is the width of the shared space (paper B).
    short_cut: add one linear map of the content, shared by both towers, to the outputs of the
        layers, and let the user tower read the history through it. The towers then start as a
        nearest-neighbour model. The papers have none.
    half_lives_days: half-lives of the history pools that weigh recent items more, in addition to
        the unweighted ones; empty for none (paper B).
    dropout: share of the user's inputs that are dropped in training.
    temperature: divisor of the cosine of user and item; a smaller one makes scores sharper.
    separate_types: with at most this many item types, the history is pooled for each type (paper
        B). With more types it is pooled over all of them (paper A), and the user tower also reads
        the mean of learned vectors of its items' types.
    """

    layers: tuple[int, ...] = (512, 256, 128)
    short_cut: bool = True
    half_lives_days: tuple[float, ...] = (1.0, 14.0)
    dropout: float = 0.1
    temperature: float = 0.08
    separate_types: int = SEPARATE_TYPES


@dataclass(frozen=True, kw_only=True)
class KindWeight:
    """Weight of the training examples of one kind of event.

    kind:   name of the kind.
    weight: factor on the loss of its examples; 0 leaves them out.
    """

    kind: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which items compete with the target, and whether their frequency is corrected for.

    uniform_negatives: items drawn uniformly per batch, in addition to the batch's own.
    log_q: subtract the log-probability that an item was in the batch (paper B). The score then
        contains popularity, which is out of date a day later.
    weak_weight: weight of examples of weak events; 0 leaves them out.
    kind_weights: weights by kind; set them in events.actions.
    repeat_share: share of the examples on items that the user already had which are kept. In the
        simulated world these are seven of ten events, and they teach nothing about discovery.
    mask_next: in a batch, items that the same user takes next do not compete with the example's
        target.
    """

    uniform_negatives: int = 256
    log_q: bool = False
    weak_weight: float = 1.0
    kind_weights: tuple[KindWeight, ...] = ()
    repeat_share: float = 0.05
    mask_next: bool = True


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """The bounded memory of examples.

    capacity: maximum number of examples kept for replay; the newest are kept.
    entries: maximum number of history entries of these examples (13 bytes each); the newest are
        kept.
    history_cap: entries of a history that the user tower reads, newest first.
    whole_history: entries of a history that the ranking head reads, newest first; they also decide
        which items a user knew. Not less than the state's history_cap.
    window_days: examples that are older than this, compared with the newest, are not replayed.
    epochs: number of times that an example is trained on: once when it is new, then by replay.
    holdout_share: share of examples that are never trained on; they fit and test bundles. With 2 %
        of the demo's examples the fitted weight of popularity was random, and HR@10 on audiobooks
        lower (.363 instead of .385 with 6 %).
    holdout_size: maximum number of held-out examples; the newest are kept.
    """

    capacity: int = 262_144
    entries: int = 13_107_200
    history_cap: int = 50
    whole_history: int = 512
    window_days: float = 90.0
    epochs: float = 2.0
    holdout_share: float = 0.06
    holdout_size: int = 4_096


@dataclass(frozen=True, kw_only=True)
class PopularitySettings:
    """Recent demand, added to affinity when serving.

    bucket_hours: length of a bucket of counts.
    half_lives_days: candidates for the half-life of recent demand. The prequential measure chooses
        one for each item type; before its first questions, held-out examples do. A single candidate
        fixes it.
    remember_days: age in days of event time at which a question counts half in this choice.
    weights: candidates for the weight of the logarithm of demand, fitted on held-out examples. A
        single candidate fixes it; 0 turns it off.
    smoothing: count added to every item before the logarithm.
    markets: number of countries that have a popularity of their own, those with the most events.
    fit_examples: held-out examples used for the fit.
    min_examples: with fewer held-out examples the last fit is kept. After a new static bundle there
        are few, and a fit on a dozen changed HR@10 by -5 % and +2 %.
    fit_items: items ranked per held-out example in the fit (a uniform sample if there are more).
    """

    bucket_hours: float = 6.0
    half_lives_days: tuple[float, ...] = (1.0, 4.0, 14.0, 60.0)
    remember_days: float = 14.0
    weights: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    smoothing: float = 0.3
    markets: int = 16
    fit_examples: int = 2_048
    min_examples: int = 256
    fit_items: int = 20_000


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """Nearest-neighbour index; `segue bench index --curve` has the figures behind the defaults.

    ivf_above: number of items of a type above which inverted lists replace the exact index.
    storage: format of the vectors in the lists: float32, fp16, int8, or int4 (four bits for each
        main direction; the best candidates get exact scores).
    flat_storage: format of the vectors in an index without lists: float32, fp16 or int8.
    recall: recall@10 against exact search for which the number of lists and candidates is chosen
        when an index is built. An index that cannot reach it is searched exactly.
    fresh_limit: items added or removed above which an index is built again in the background.
    fresh_share: the same as a share of the index; the greater of the two counts.
    device: cpu or cuda (faiss-gpu instead of faiss-cpu); on cuda int4 is fp16.
    """

    ivf_above: int = 20_000
    storage: Literal["float32", "fp16", "int8", "int4"] = "int4"
    flat_storage: Literal["float32", "fp16", "int8"] = "float32"
    recall: float = 0.998
    fresh_limit: int = 4_096
    fresh_share: float = 0.005
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """What a bundle must show before it may serve.

    min_recall: minimum recall@10 of its index against exact search.
    min_coverage: minimum number of distinct items in the first ten places of held-out users, per
        item that could be there.
    max_similarity: maximum mean cosine of random pairs of item vectors; above it the space has
        collapsed. A direction that all items share does not change the order; the limit is where
        the rest is small compared with the temperature (ours, not measured).
    max_loss: loss of HR@10 on held-out examples, as a share, against the served bundle or the best
        earlier one, that is detected nine times in ten if there are enough examples. A bundle is
        refused if it loses more than half of it and more than chance (95 %, by user).
    """

    min_recall: float = 0.97
    min_coverage: float = 0.005
    max_similarity: float = 0.98
    max_loss: float = 0.1


@dataclass(frozen=True, kw_only=True)
class AdoptionSettings:
    """How the trainer adopts a new static bundle; the towers keep their weights (warm start).

    align: rotate the new HGNN vectors into the space that the towers know, so that the items of
        both bundles are nearest to their old vectors (Procrustes).
    follow_steps: steps in which the towers learn to give for the new vectors what they gave for the
        old ones, before a bundle with them is published (about 20 ms each on one core).
    relearn: train again on the examples after the snapshot, with the new vectors, before a bundle
        with them is published. With `align` there was no gain.
    """

    align: bool = True
    follow_steps: int = 500
    relearn: bool = False


@dataclass(frozen=True, kw_only=True)
class RankingSettings:
    """The ranking head: its candidates, its features and its training.

    enabled: train a head, and serve with it if it ranks held-out examples better than the two-tower
        model with popularity.
    half_lives_days: half-lives with which a history is summed over item-item weights. On lfm1m a
        day and an hour instead of 5 days were part of the rise of HR@10 from .427 to .463.
    demand_half_lives_days: half-lives of recent demand.
    shown_half_lives_days: half-lives of the user's impressions of a candidate (ADR 88); empty reads
        none. A head has these features once it has learned from impressions.
    entries: newest history entries that are summed over item-item weights.
    towers: candidates of a type from the index.
    weak: candidates from the latest items that the user has only by weak events.
    neighbours: candidates by item-item weights, for each kind of weights and each half-life.
    weights: kinds of item-item weights from counts (ADR 82): `ease` (regression on
        co-interactions), `cosine` (of co-interactions), `next` (transitions to another item within
        an hour).
    renewed_counts: item-item counts, of 8 bytes, up to which a static bundle carries them: then the
        trainer adds the events after its snapshot, and makes the weights again for each bundle
        (ADR 87, 98), for which it needs 22 bytes a count. With 0 they stay as the job made them.
    near: vectors, `text` or `hgnn`, by which a history points to items with similar vectors. They
        become item-item weights like those of counts, but items without an event have them too (ADR
        75).
    near_items: number of nearest items, of each type, from which an item has such weights; at most
        a hundredth of the type's items with events.
    demand: candidates by demand, for each half-life.
    limit: maximum number of candidates; those by item-item weights are last and are cut first.
    first_share: share of the first examples, the last ones, that the first towers do not train on
        before the first head has learned from them.
    first_least: these examples are at least so many, or all but the first batch.
    first_lists: lists with their target, of these examples; four times as many are made at most.
    lists: the same, of the examples between two bundles (ADR 92).
    min_lists: with fewer lists no head is published.
    type_prior: history entries that the catalogue's mixture of types counts in a user's shares.
    ease: item-item weights, made by the static job.
    head: shape and training.
    """

    enabled: bool = True
    half_lives_days: tuple[float, ...] = (3_650.0, 30.0, 1.0, 1 / 24)
    demand_half_lives_days: tuple[float, ...] = (1.0, 4.0, 7.0, 14.0, 30.0, 60.0, 180.0)
    shown_half_lives_days: tuple[float, ...] = (1.0, 30.0)
    entries: int = 512
    towers: int = 80
    weak: int = 20
    neighbours: int = 60
    weights: tuple[Literal["ease", "cosine", "next"], ...] = ("ease", "cosine", "next")
    renewed_counts: int = 10_000_000
    near: tuple[Literal["hgnn", "text"], ...] = ("text",)
    near_items: int = 32
    demand: int = 60
    limit: int = 400
    first_share: float = 0.3
    first_least: int = 1_000
    first_lists: int = 4_000
    lists: int = 1_500
    min_lists: int = 32
    type_prior: float = 2.0
    ease: EaseSettings = field(default_factory=EaseSettings)
    head: HeadSettings = field(
        default_factory=lambda: HeadSettings(negatives=128, capacity=8_192, epochs=4.0)
    )

    def features(self, *, shown: bool = False) -> FeatureSettings:
        """Return what the head reads; shown: whether impressions too."""
        return FeatureSettings(
            half_lives_days=self.half_lives_days,
            demand_half_lives_days=self.demand_half_lives_days,
            shown_half_lives_days=self.shown_half_lives_days if shown else (),
        )


@dataclass(frozen=True, kw_only=True)
class DynamicSettings:
    """Settings of the trainer's models.

    batch_size: examples per step.
    learning_rate: learning rate of Adam.
    averaging: decay per step of the averaged weights that are published; 0: the last weights.
    use_hgnn: whether the towers read the HGNN's vectors; otherwise they read text vectors alone.
    towers, loss, replay, popularity, adoption, live_graph, sequence, ranking, index, gate: settings
        of the parts.
    """

    batch_size: int = 256
    learning_rate: float = 1e-3
    averaging: float = 0.99
    use_hgnn: bool = True
    towers: TowerSettings = field(default_factory=TowerSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    replay: ReplaySettings = field(default_factory=ReplaySettings)
    popularity: PopularitySettings = field(default_factory=PopularitySettings)
    adoption: AdoptionSettings = field(default_factory=AdoptionSettings)
    live_graph: LiveGraphSettings = field(default_factory=LiveGraphSettings)
    sequence: SequenceSettings = field(default_factory=SequenceSettings)
    ranking: RankingSettings = field(default_factory=RankingSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    gate: GateSettings = field(default_factory=GateSettings)


def recipe(name: str) -> DynamicSettings:
    """Return the settings of a named recipe: `default` (ours) or `paper` (paper B, section 2T).

    Raises ValueError for another name.
    """
    if name == "default":
        return DynamicSettings()
    if name == "paper":
        return DynamicSettings(
            batch_size=128,
            averaging=0.0,
            towers=TowerSettings(short_cut=False, half_lives_days=(), dropout=0.0),
            loss=LossSettings(uniform_negatives=0, log_q=True, weak_weight=0.0, mask_next=False),
            replay=ReplaySettings(epochs=10.0),
            popularity=PopularitySettings(weights=(0.0,)),
            ranking=RankingSettings(enabled=False),
        )
    raise ValueError(f"expected recipe 'default' or 'paper', got {name!r}")
