"""Settings of the dynamic layer: towers, loss, replay, popularity, index and gate."""

from dataclasses import dataclass, field
from typing import Literal

SEPARATE_TYPES = 4
NEAR = ("hgnn", "text")
"""Vectors of items that item-item weights are made of, beside counts; the weights' names."""
GROUPS = ("weights", "vectors", "towers", "demand", "age", "user")
"""Groups of the features of a head; `vectors` has the weights of `NEAR`."""


@dataclass(frozen=True, kw_only=True)
class EaseSettings:
    """How item-item weights are fitted.

    ridge:      added to the diagonal (Steck 2019, lambda); larger trusts counts less.
    neighbours: items whose weights an item is given, those with the greatest cosine.
    min_users:  items met by fewer users are neither source nor target.
    kept:       weights of an item by `cosine` and `next`, see `RankingSettings.weights`.
    degree_cap: counts kept per item before anything is fitted, greatest cosines first.
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
    """

    groups: tuple[str, ...] = GROUPS
    half_lives_days: tuple[float, ...] = (float("inf"), 30.0, 5.0)
    demand_half_lives_days: tuple[float, ...] = (1.0, 4.0, 14.0, 60.0, float("inf"))
    smoothing: float = 0.1


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Shape and training of the head.

    hidden:        width of the hidden layer; 0 leaves the linear part alone.
    negatives:     candidates of a list that compete with its positives, drawn again each epoch.
    epochs:        times that a list is trained on before training rests.
    batch_size:    lists per step.
    learning_rate, weight_decay: of AdamW.
    averaging:     decay per step of the averaged weights that are published.
    capacity:      lists kept for training, newest win.
    """

    hidden: int = 32
    negatives: int = 256
    epochs: float = 6.0
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    averaging: float = 0.98
    capacity: int = 16_384


@dataclass(frozen=True, kw_only=True)
class ListSettings:
    """A named list of recommendations.

    name:       of the list.
    item_types: types it draws from; empty for all.
    k:          items in it, at most.
    repeats:    items of the user's history: `exclude` them, `include` them among the others, or
                recommend `only` them.
    explain:    write the reasons of each place beside it: docs/scores.md. Such a list is made for
                one user at a time, and more than once. Where users wait, it comes without reasons.
    """

    name: str
    item_types: tuple[str, ...] = ()
    k: int = 10
    repeats: Literal["exclude", "include", "only"] = "exclude"
    explain: bool = False


@dataclass(frozen=True, kw_only=True)
class TowerSettings:
    """Shape of the two towers.

    layers:          widths of each tower's layers, the last of the shared space (paper B: these).
    short_cut:       add one linear map of the content, shared by both towers, to the layers'
                     outputs, and let the user tower read the history through it; the towers then
                     start as a nearest-neighbour model. The papers have none.
    half_lives_days: half-lives of the recency-weighted history pools, beside the undecayed ones;
                     empty pools without recency (paper B).
    dropout:         share of user inputs dropped while training.
    temperature:     divisor of the cosine of user and item; smaller is sharper.
    separate_types:  up to this many item types, the history is pooled for each type (paper B).
                     With more types it is pooled over all of them (paper A), and the user tower
                     also reads the mean of learned vectors of its items' types.
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

    uniform_negatives: items drawn uniformly from the catalogue per batch, beside the batch's own.
    log_q:             subtract the log-probability that an item was in the batch (paper B); the
                       score then holds popularity, which goes stale overnight.
    weak_weight:       weight of examples whose event was a weak signal; 0 leaves them out.
    kind_weights:      weights of kinds that have one of their own, as events.actions has it, which
                       is where it is set.
    repeat_share:      share of the examples whose item the user had before that are kept; in the
                       simulated world seven of ten events are such, and teach discovery nothing.
    mask_next:         a batch's targets that the user of an example goes on to in the same batch do
                       not compete with that example's target.
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

    capacity:      examples kept for replay, at most; newest win.
    entries:       history entries of these examples, at most (13 bytes each); newest win.
    history_cap:   entries of a history that the user tower reads, newest first.
    whole_history: entries of a history that the ranking head reads, newest first, and that tell
                   which items a user knew. Not below the state's history_cap.
    window_days:   examples older than this, against the newest, are not replayed.
    epochs:        times that an example is trained on before training rests: once when it is
                   new, then by replay.
    holdout_share: share of examples never trained on, kept to fit and to judge bundles. With 2 %
                   of the demo's examples the weight of popularity came out at random, and HR@10
                   on audiobooks with it (.363 against .385 with 6 %).
    holdout_size:  held-out examples kept, newest win.
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

    bucket_hours:    length of a count's bucket.
    half_lives_days: candidates for the half-life of recent demand, chosen for each item type by
                     the prequential measure's questions, before the first of these by held-out
                     examples. One fixes it.
    remember_days:   after so many days of event time a question counts half in that choice.
    weights:         candidates for the weight of its logarithm; fitted on held-out examples.
                     One fixes it; weight 0 turns it off.
    smoothing:       count added to every item before the logarithm.
    markets:         countries with the most events that get a popularity of their own.
    fit_examples:    held-out examples used for fitting.
    min_examples:    held-out examples without which the last fit stays: after a new static bundle
                     there are few, and pairs chosen by a dozen moved HR@10 by -5 and by +2 %.
    fit_items:       items ranked per held-out example when fitting (a uniform sample above that).
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

    ivf_above:    items of one type above which inverted lists replace the exact index.
    storage:      of the vectors in the lists: float32, fp16, int8, or int4 (four bits for each of
                  their main directions, and exact scores for the best of what these find).
    flat_storage: of the vectors in an index without lists: float32, fp16 or int8.
    recall:       at 10 against exact search, that the lists to read and the candidates are chosen
                  for when an index is built; what cannot reach it is searched exactly.
    fresh_limit:  items that came or went since an index of their type was built, above which one
                  with them is made aside; or
    fresh_share:  as a share of the index, if that is more.
    device:       cpu or cuda (faiss-gpu instead of faiss-cpu); on cuda int4 is fp16.
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

    min_recall:     recall@10 of its index against exact search.
    min_coverage:   distinct items in the top tens of held-out users, per item that could be there.
    max_similarity: mean cosine of random pairs of item vectors; above it the space has collapsed.
                    A direction that all items share ranks nothing and does no harm; the limit is
                    where what is left is small against the temperature (ours, not measured).
    max_loss:       share of HR@10 on held-out examples whose loss, against the served bundle or the
                    best earlier one, is found nine times in ten, given enough examples. Refused is
                    what loses more than half of it and more than chance (95 %, by user).
    """

    min_recall: float = 0.97
    min_coverage: float = 0.005
    max_similarity: float = 0.98
    max_loss: float = 0.1


@dataclass(frozen=True, kw_only=True)
class AdoptionSettings:
    """How a new static bundle is taken up; the towers keep their weights (warm start).

    align:   turn its HGNN's vectors into the space that the towers know, by the rotation that
             brings the items that both bundles have nearest to where they were (Procrustes).
    follow_steps: steps in which the towers learn to say of its vectors what they said of the old
             ones, before anything is published with them (about 20 ms each on one core).
    relearn: train on the examples that came after its snapshot again, now with its vectors, before
             anything is published with them. With `align` it gained nothing.
    """

    align: bool = True
    follow_steps: int = 500
    relearn: bool = False


@dataclass(frozen=True, kw_only=True)
class RankingSettings:
    """The ranking head in the stream: which candidates it sees, what it reads, how it learns.

    enabled:     train a head, and serve with it where it ranks held-out examples better than
                 the two-tower with popularity does.
    half_lives_days: recencies at which a history is summed over item-item weights. On lfm1m a day
                 and an hour in place of 5 days were part of HR@10's rise from .427 to .463.
    demand_half_lives_days: of recent demand.
    entries:     newest history entries that are summed over item-item weights.
    towers:      candidates of a type from the index.
    weak:        of the latest items that the user met by weak signals alone.
    neighbours:  by item-item weights, for each kind of them and each half-life.
    weights:     kinds of item-item weights from counts (ADR 82): `ease` (regression on
                 co-interactions), `cosine` (of co-interactions), `next` (transitions to another
                 item within an hour).
    near:        vectors of items by which a history points to items near its own: `text`, `hgnn`.
                 They are item-item weights like those of counts, but items without an event have
                 them too (ADR 75).
    near_items:  nearest items of the histories, of each type, that an item has weights from.
    demand:      by demand, for each half-life.
    limit:       of their union; demand's come last and are cut first.
    first_share: share of the examples at hand, the last ones, that the first towers do not see
                 before the first head has learned from them.
    first_lists: lists made of these, at most, and in steady state of the examples between two
    lists:       bundles.
    min_lists:   lists without which no head is published.
    type_prior:  entries of the whole catalogue's mixture of types that a user's shares begin with.
    ease:        item-item weights, made by the static job.
    head:        shape and training.
    """

    enabled: bool = True
    half_lives_days: tuple[float, ...] = (3_650.0, 30.0, 1.0, 1 / 24)
    demand_half_lives_days: tuple[float, ...] = (1.0, 4.0, 14.0, 60.0)
    entries: int = 512
    towers: int = 80
    weak: int = 20
    neighbours: int = 60
    weights: tuple[Literal["ease", "cosine", "next"], ...] = ("ease", "cosine", "next")
    near: tuple[Literal["hgnn", "text"], ...] = ()
    near_items: int = 32
    demand: int = 20
    limit: int = 400
    first_share: float = 0.3
    first_lists: int = 6_000
    lists: int = 2_000
    min_lists: int = 256
    type_prior: float = 2.0
    ease: EaseSettings = field(default_factory=EaseSettings)
    head: HeadSettings = field(
        default_factory=lambda: HeadSettings(negatives=128, capacity=8_192, epochs=4.0)
    )

    def features(self) -> FeatureSettings:
        """Return what the head reads."""
        return FeatureSettings(
            half_lives_days=self.half_lives_days,
            demand_half_lives_days=self.demand_half_lives_days,
        )


@dataclass(frozen=True, kw_only=True)
class DynamicSettings:
    """Everything the two-tower's trainer can be told.

    batch_size:    examples per step.
    learning_rate: of Adam.
    averaging:     decay per step of the averaged weights that are published; 0 publishes the last.
    use_hgnn:      whether the towers read the HGNN's vectors, or text alone.
    towers, loss, replay, popularity, adoption, ranking, index, gate: the parts' own settings.
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
