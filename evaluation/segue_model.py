"""Our own model in the harness: candidates, features and a ranking head, fitted before the split.

The head's lists are users at earlier moments, labelled by what they met in the days that followed;
the models behind its features know nothing of those days. Then these models are fitted again up
to the split, and the head ranks with them.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from dynamic_layer.candidates import NONE
from dynamic_layer.head_features import FeatureSettings, Sources, feature_names, pair_features
from dynamic_layer.item_weights import (
    EaseSettings,
    by_target,
    capped,
    co_interactions,
    cosine_weights,
    ease_weights,
    spectral_vectors,
)
from dynamic_layer.moments import Moment, moment_at
from dynamic_layer.propose import CandidateSettings, propose
from dynamic_layer.ranking_head import HeadSettings, HeadTrainer, Lists, RankingHead
from dynamic_layer.tower_fits import CatalogueItems, TowerFits, TowerFitSettings
from evaluation.baselines import Rows, Scorer, Scores
from evaluation.dataset import Dataset, Interactions
from evaluation.split import DAY_MS, TimeSplit, held_out
from state.keys import item_key
from static_layer import Progress, TextEncoder, TextSettings, catalogue_texts
from static_layer.progress import silent

Floats = npt.NDArray[np.float32]
_BATCH = 64  # users; their candidates' vectors are 80 MB at 800 candidates


@dataclass(frozen=True, kw_only=True)
class SegueSettings:
    """Everything that `segue` can be told.

    horizon_days: days after a moment whose events label the head's lists.
    windows:      earlier moments, a horizon apart, from which lists are drawn.
    max_lists:    lists drawn per moment and type.
    weights:      item-item weights behind features and candidates: of `ease` and `cosine`.
    cosines:      cosine weights kept per item.
    vectors:      vectors whose dots are features: of `text` and `graph` (spectral).
    graph_width:  of the spectral vectors.
    towers:       of the two-tower; None leaves it out (on lfm1m the head gained nothing by it).
    """

    horizon_days: float = 30.0
    windows: int = 2
    max_lists: int = 4_000
    weights: tuple[str, ...] = ("ease", "cosine")
    cosines: int = 200
    vectors: tuple[str, ...] = ("text", "graph")
    graph_width: int = 96
    towers: TowerFitSettings | None = None
    ease: EaseSettings = field(default_factory=EaseSettings)
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    head: HeadSettings = field(default_factory=HeadSettings)


def segue(
    dataset: Dataset,
    split: TimeSplit,
    *,
    seed: int,
    progress: Progress = silent,
    settings: SegueSettings | None = None,
    text: Floats | None = None,
) -> Scorer:
    """Fit on the events before the split and return the scorer.

    text: f32 [items, d], unit vectors, zero without text; encoded here when None. Items that are
    no candidate of a user score below all that are, by demand. Nothing of `split.test` is read.
    """
    settings = settings or SegueSettings()
    fitted = fit(dataset, split, seed=seed, progress=progress, settings=settings, text=text)
    trainer = HeadTrainer(fitted.names, settings.head, seed=seed)
    for lists in fitted.lists:
        trainer.add(lists)
    trainer.train()
    return scorer_of(fitted.moment, fitted.sources, trainer.publish(), settings)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a head is trained on, and the state and models that it ranks with at the split.

    names: of the features. lists: of the earlier moments, oldest first.
    """

    names: list[str]
    lists: list[Lists]
    moment: Moment
    sources: Sources


def fit(
    dataset: Dataset,
    split: TimeSplit,
    *,
    seed: int,
    progress: Progress,
    settings: SegueSettings,
    text: Floats | None,
) -> Fitted:
    """Return lists of earlier moments and the models at the split; reads `split.train` alone."""
    if text is None and "text" in settings.vectors:
        text = text_vectors(dataset, progress)
    fits = Fits(dataset, split.train, text, settings, seed=seed)
    horizon_ms = round(settings.horizon_days * DAY_MS)
    first_ms = int(split.train.timestamp[0])
    ends = [split.at_ms - window * horizon_ms for window in range(settings.windows)]
    ends = [end for end in reversed(ends) if end - horizon_ms > first_ms]
    lists: list[Lists] = []
    for done, end in enumerate(ends):
        progress("earlier moments", done, len(ends))
        earlier = _upto(split.train, end - horizon_ms, end)
        moment, sources = fits.at(earlier.at_ms)
        for number in range(sources.types):
            lists += head_lists(
                dataset, earlier, number, moment, sources, settings, seed=seed, teaching=True
            )
    progress("earlier moments", len(ends), len(ends))
    moment, sources = fits.at(split.at_ms)
    names = feature_names(sources, settings.features)
    return Fitted(names=names, lists=lists, moment=moment, sources=sources)


def text_vectors(dataset: Dataset, progress: Progress = silent, *, cache: str = "") -> Floats:
    """Return the text vectors of a catalogue, f32 [items, d]; zero where an item has no text."""
    texts, own = catalogue_texts(dataset.items)
    encoder = TextEncoder(TextSettings(max_tokens=64, cache=cache))
    vectors = encoder.encode(texts, progress)
    encoder.close()
    return vectors * own[:, None]


class Fits:
    """The models behind the features, fitted anew for each moment, the towers carried on."""

    def __init__(
        self,
        dataset: Dataset,
        events: Interactions,
        text: Floats | None,
        settings: SegueSettings,
        *,
        seed: int,
    ) -> None:
        """events: in order of time; none at or after an asked moment is read for it."""
        self._dataset, self._events, self._text = dataset, events, text
        self._settings, self._seed = settings, seed
        numbers = {name: number for number, name in enumerate(dataset.item_types)}
        names = dataset.items["item_type"].to_list()
        self._type_number = np.array([numbers[name] for name in names], np.int64)
        self._towers = (
            TowerFits(_catalogue(dataset, text), settings.towers, use_hgnn=False, seed=seed)
            if settings.towers is not None and text is not None
            else None
        )

    def at(self, at_ms: int) -> tuple[Moment, Sources]:
        """Return the state and the models of a moment; moments must not go back in time."""
        settings = self._settings
        events = self._events.where(self._events.timestamp < at_ms)
        n_users, n_items = len(self._dataset.users), len(self._dataset.items)
        moment = moment_at(
            at_ms,
            user=events.user,
            item=events.item,
            timestamp=events.timestamp,
            n_users=n_users,
            n_items=n_items,
            half_lives_days=settings.features.demand_half_lives_days,
        )
        histories = moment.histories
        ones = np.ones(len(histories.item), np.float32)
        counts = co_interactions(
            sp.csr_array((ones, histories.item, histories.indptr), shape=(n_users, n_items))
        )
        counts = capped(counts, settings.ease.degree_cap)
        weights = {}
        if "ease" in settings.weights:
            weights["ease"] = ease_weights(counts, settings.ease)
        if "cosine" in settings.weights:
            weights["cosine"] = by_target(cosine_weights(counts), settings.cosines)
        vectors = {}
        if "text" in settings.vectors and self._text is not None:
            vectors["text"] = self._text
        if "graph" in settings.vectors:
            vectors["graph"] = spectral_vectors(counts, settings.graph_width, seed=self._seed)
        towers = None
        if self._towers is not None:
            towers = self._towers.at(
                moment,
                user=events.user,
                item=events.item,
                timestamp=events.timestamp,
                strong=events.strong,
            )
        return moment, Sources(
            type_number=self._type_number,
            types=len(self._dataset.item_types),
            weights=weights,
            vectors=vectors,
            towers=towers,
        )


def _catalogue(dataset: Dataset, text: Floats) -> CatalogueItems:
    ids, types = (dataset.items[name].to_list() for name in ("item_id", "item_type"))
    none = [None] * len(ids)
    return CatalogueItems(
        item_keys=np.array([item_key(t, i) for t, i in zip(types, ids, strict=True)], np.uint64),
        item_ids=ids,
        item_types=types,
        languages=none,
        genres=none,
        titles=none,
        text=text,
        hgnn=np.zeros((len(ids), 1), np.float32),
    )


def _upto(events: Interactions, at_ms: int, end_ms: int) -> TimeSplit:
    before = events.timestamp < at_ms
    return TimeSplit(
        train=events.where(before),
        test=events.where(~before & (events.timestamp < end_ms)),
        at_ms=at_ms,
    )


def head_lists(
    dataset: Dataset,
    earlier: TimeSplit,
    number: int,
    moment: Moment,
    sources: Sources,
    settings: SegueSettings,
    *,
    seed: int,
    teaching: bool,
) -> list[Lists]:
    """Return lists of one type at a moment, labelled by the items new to their users that followed.

    A random sample of at most `max_lists` users with such items; where they are for teaching,
    those of them with such an item among their candidates: the others would teach nothing.
    """
    truth = held_out(earlier, dataset.rows_of_type(dataset.item_types[number]))
    rng = np.random.default_rng([seed, number, earlier.at_ms])
    size = min(settings.max_lists, len(truth.users))
    chosen = np.sort(rng.choice(len(truth.users), size, replace=False))
    owner = np.repeat(np.arange(len(truth.users)), truth.counts())
    codes = owner * len(dataset.items) + truth.item
    lists = []
    for start in range(0, size, _BATCH):
        places = chosen[start : start + _BATCH]
        users = truth.users[places]
        candidates = propose(moment, users, number, sources, settings.candidates, settings.features)
        label = np.isin(places[:, None] * len(dataset.items) + candidates, codes)
        label &= candidates != NONE
        if teaching:
            useful = label.any(axis=1)
            users, candidates, label = users[useful], candidates[useful], label[useful]
            if not len(users):
                continue
        features = pair_features(moment, users, candidates, sources, settings.features)
        lists.append(
            Lists(features=features.astype(np.float16), label=label, valid=candidates != NONE)
        )
    return lists


def scorer_of(
    moment: Moment, sources: Sources, head: RankingHead, settings: SegueSettings
) -> Scorer:
    """Return the scorer of a fitted head; it may be asked for items of any types."""
    demand = moment.demand[:, 0] / (1 + moment.demand[:, 0].max(initial=0))

    def score(users: Rows, items: Rows) -> Scores:
        # Below every candidate: half-precision of the harness still tells demand apart.
        scores = np.broadcast_to(demand[items] - 1e4, (len(users), len(items))).astype(np.float32)
        place = np.full(len(sources.type_number), -1)
        place[items] = np.arange(len(items))
        for number in np.unique(sources.type_number[items]).tolist():
            own = items[sources.type_number[items] == number]
            for start in range(0, len(users), _BATCH):
                part = users[start : start + _BATCH]
                if len(own) <= settings.candidates.limit:
                    candidates = np.broadcast_to(own, (len(part), len(own))).copy()
                else:
                    candidates = propose(
                        moment, part, number, sources, settings.candidates, settings.features
                    )
                    candidates = np.where(place[candidates] >= 0, candidates, NONE)
                features = pair_features(moment, part, candidates, sources, settings.features)
                row, column = np.nonzero(candidates != NONE)
                values = head.scores(features, candidates != NONE)[row, column]
                scores[start + row, place[candidates[row, column]]] = values
        return scores

    return score
