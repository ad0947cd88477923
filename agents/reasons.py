"""The reasons of a list as they are written and answered."""

from collections.abc import Sequence

from dynamic_layer import Explanation, Ranking
from streams import AppliedRule, ExploredPlace, FilteredItems, NearItem, Reasons, RecommendedItem

__all__ = ["explained_items", "explored_places", "filtered_items", "reasons_of"]


def reasons_of(found: Explanation) -> Reasons:
    """Return the reasons for a place; numbers keep six decimals, cosines four."""
    return Reasons(
        parts={name: round(part, 6) for name, part in found.parts.items()},
        rules=[
            AppliedRule(
                rule=one.rule, when=one.when, adds=round(one.adds, 6), propensity=one.propensity
            )
            for one in found.rules
        ],
        new=found.cold,
        nearest=[
            NearItem(item_id=one.item_id, item_type=one.item_type, cosine=round(one.cosine, 4))
            for one in found.nearest
        ],
    )


def explained_items(ranking: Ranking) -> Sequence[RecommendedItem]:
    """Return the items of a list that has a reason for each place."""
    places = zip(
        ranking.item_ids, ranking.item_types, ranking.scores.tolist(), ranking.why, strict=True
    )
    return [
        RecommendedItem(item_id=name, item_type=kind, score=round(score, 6), why=reasons_of(why))
        for name, kind, score, why in places
    ]


def filtered_items(ranking: Ranking) -> FilteredItems | None:
    """Return what the filter of the list's policy leaves, where that is known."""
    found = ranking.filtered
    return None if found is None else FilteredItems(items=found.items, left=found.left)


def explored_places(ranking: Ranking) -> Sequence[ExploredPlace]:
    """Return what exploration decided about places of the list."""
    # An empty tuple is the default of the record, which is not written.
    return tuple(
        ExploredPlace(position=one.place + 1, new=one.new, propensity=one.propensity)
        for one in ranking.explored
    )
