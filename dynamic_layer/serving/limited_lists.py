"""One policy's lists for users who have the same values of what it reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dynamic_layer.index.hits import Hits
from dynamic_layer.index.item_index import ItemIndex
from dynamic_layer.lists.demotion import demoted
from dynamic_layer.policies.expressions import Expression
from dynamic_layer.policies.in_force import InForce
from dynamic_layer.policies.limits import crowded, shared
from dynamic_layer.policies.masks import RowMasks
from dynamic_layer.policies.policy import Binding, Policy
from dynamic_layer.policies.selection import Candidates, select
from dynamic_layer.serving.batch import Batch
from dynamic_layer.serving.exploring import Candidates as NewCandidates
from dynamic_layer.serving.exploring import Question, explored
from dynamic_layer.serving.list_search import ListSearch
from dynamic_layer.serving.new_items import KnownItems, NewItemFinder
from dynamic_layer.serving.reasons import Explored, Filtered, RuleEffect
from dynamic_layer.settings import ListSettings

__all__ = ["LimitedLists"]

Mask = NDArray[np.bool_]
_DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class LimitedLists:
    """One policy's lists for users who have the same values of what it reads."""

    policy: Policy
    batch: Batch
    types: NDArray[np.int64]
    index: ItemIndex
    items: KnownItems
    search: ListSearch
    in_force: InForce
    masks: RowMasks
    slots: NDArray[np.int64]
    binding: Binding
    row_of: Callable[[str, str], int]

    def allowed(self) -> Mask | None:
        """Return the items that the filter leaves."""
        if self.policy.filter is None:
            return None
        with self.in_force.lock:
            return self._mask(self.policy.filter)

    def _mask(self, expression: Expression) -> Mask:
        return self.masks.mask(expression, self.binding, self.batch.now_ms, self.slots)

    def limited(self, settings: ListSettings, hits: Hits, depth: int) -> Hits:
        """Return the `settings.k` items of each list, chosen among candidates."""
        types = self.search.type_numbers(settings.item_types)
        allowed = self.allowed()
        hits = self._with_popular(hits, settings, types, depth, allowed)
        if settings.repeats != "only":
            hits = self._with_wanted(hits, settings, types, allowed)
        hits, pinned = self._with_pinned(hits, settings, types, allowed)
        found = self._select(settings, hits, pinned)
        if settings.repeats == "only":
            return found
        short = np.flatnonzero((found.rows >= 0).sum(axis=1) < settings.k)
        for place in short.tolist():
            rows, scores = self._filled(place, settings, types, hits, pinned, allowed)
            found.rows[place], found.scores[place] = rows, scores
        return found

    # Candidates beside those that were ranked

    def _with_popular(
        self,
        hits: Hits,
        settings: ListSettings,
        types: Sequence[int],
        depth: int,
        allowed: Mask | None,
    ) -> Hits:
        """Return the hits with what is popular for users without a known history."""
        cold = [place for place, known in enumerate(self.batch.personal) if not known]
        if not cold or settings.repeats == "only":
            return hits
        rows, scores = hits.rows.copy(), hits.scores.copy()
        by_market: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        for place in cold:
            market = int(self.batch.markets[place])
            if market not in by_market:
                by_market[market] = self.search.popular(
                    market, types, depth, self.batch.now_ms, allowed
                )
            best, worth = by_market[market]
            rows[place], scores[place] = -1, -np.inf
            width = min(len(best), rows.shape[1])
            rows[place, :width], scores[place, :width] = best[:width], worth[:width]
            one = self.batch.asked.take([place])
            if one.unlisted.shape[1]:
                found = demoted(Hits(rows[[place]], scores[[place]]), one, self.index)
                rows[place], scores[place] = found.rows[0], found.scores[0]
        return Hits(rows, scores)

    def _with_wanted(
        self, hits: Hits, settings: ListSettings, types: Sequence[int], allowed: Mask | None
    ) -> Hits:
        """Return the hits with the best of what is boosted, or has to be there, behind them."""
        policy = self.policy
        wanted = [(one.when, settings.k) for one in policy.weights if one.log_factor > 0]
        wanted += policy.at_least
        parts = [hits]
        for when, least in wanted:
            with self.in_force.lock:
                mask = self.masks.both(self._mask(when), allowed)
            parts.append(self._behind(hits, self._nearest(settings, types, least, mask)))
        return parts[0] if len(parts) == 1 else _distinct(Hits.join(parts, len(hits.rows)))

    def _nearest(
        self, settings: ListSettings, types: Sequence[int], k: int, allowed: Mask, *,
        users: slice = slice(None), once: bool = False,
    ) -> Hits:  # fmt: skip
        asked = self.batch.asked.take(users)
        found = self.index.search(
            asked.queries, k, types=types, exclude=asked.excluded(settings.repeats),
            allowed=allowed, once=once,
        )  # fmt: skip
        return demoted(found, asked, self.index)

    def _behind(self, hits: Hits, more: Hits) -> Hits:
        """Return further hits with scores below those of the first, in their own order."""
        there = np.where(hits.rows >= 0, hits.scores, np.inf)
        least = there.min(axis=1, initial=np.inf)
        least = np.where(np.isfinite(least), least, 0).astype(np.float32)
        best = np.where(more.rows >= 0, more.scores, -np.inf).max(axis=1, initial=-np.inf)
        best = np.where(np.isfinite(best), best, 0).astype(np.float32)
        return Hits(more.rows, np.minimum(more.scores - best[:, None], 0) + least[:, None])

    def _with_pinned(
        self, hits: Hits, settings: ListSettings, types: Sequence[int], allowed: Mask | None
    ) -> tuple[Hits, NDArray[np.int64]]:
        """Return the hits with the items of slots, and the place of each among them, i64 [b, k]."""
        b, now = len(hits.rows), self.batch.now_ms
        pinned = np.full((b, settings.k), -1, np.int64)
        rows, scores = hits.rows, hits.scores
        for slot, start, until in self.policy.slots:
            row = self.row_of(slot.item_type, slot.item_id)
            if not start <= now < until or slot.position > settings.k:
                continue
            if not self._may_stand(row, types, allowed):
                continue
            there = rows == row
            place = np.where(there.any(axis=1), there.argmax(axis=1), -1)
            missing = place < 0
            barred = self.batch.asked.excluded(settings.repeats)
            if barred is not None:
                missing &= ~(barred == row).any(axis=1)
            if settings.repeats != "only" and missing.any():
                column = np.where(missing, row, -1)
                place = np.where(missing, rows.shape[1], place)
                rows = np.concatenate([rows, column[:, None]], axis=1)
                least = np.where(rows[:, :-1] >= 0, scores, np.inf).min(axis=1, initial=np.inf)
                least = np.where(missing & np.isfinite(least), least, -np.inf)
                least = np.where(missing & np.isneginf(least), 0, least)
                scores = np.concatenate([scores, least[:, None].astype(np.float32)], axis=1)
            # A user who must not get it has the one before for the same position, if there is one.
            at = pinned[:, slot.position - 1]
            at[place >= 0] = place[place >= 0]
        return Hits(rows, scores), pinned

    def _may_stand(self, row: int, types: Sequence[int], allowed: Mask | None) -> bool:
        """Whether an item is known, not removed, of a type of the list, and left by the filter."""
        if row < 0 or self.index.is_removed(np.array([row]))[0]:
            return False
        return self.types[row] in types and (allowed is None or bool(allowed[row]))

    # Choosing

    def _select(self, settings: ListSettings, hits: Hits, pinned: NDArray[np.int64]) -> Hits:
        """Return the chosen items of each list with their scores, boosts included."""
        policy, rules = self.policy, self.policy.rules
        safe = np.maximum(hits.rows, 0)
        with self.in_force.lock:
            scores = hits.scores + self._worth(safe)
            most = [self._mask(when)[safe] for when, _ in policy.at_most]
            least = [self._mask(when)[safe] for when, _ in policy.at_least]
            meets_most = _stacked(most, safe)
            groups, limits = shared(
                policy, self.in_force.columns, self.slots[safe].ravel(),
                meets_most.reshape(safe.size, len(most)),
            )  # fmt: skip
        candidates = Candidates(
            rows=hits.rows,
            scores=scores.astype(np.float32),
            groups=groups.reshape(*safe.shape, -1),
            limits=limits,
            meets=_stacked(least, safe),
            least=np.array([number for _, number in policy.at_least], np.int32),
            pinned=pinned,
            vectors=self.index.vectors(safe)[..., :-1] if rules.diversity else None,
        )
        chosen = select(candidates, settings.k, rules.diversity)
        there = chosen >= 0
        at = np.maximum(chosen, 0)
        return Hits(
            np.where(there, np.take_along_axis(hits.rows, at, axis=1), -1),
            np.where(there, np.take_along_axis(candidates.scores, at, axis=1), -np.inf).astype(
                np.float32
            ),
        )

    def _worth(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what boosts and freshness add to the scores of rows, f32 of the same shape."""
        worth = np.zeros(rows.shape, np.float32)
        for _, _, part in self._additions(rows):
            worth += part
        return worth

    def _additions(self, rows: NDArray[np.int64]) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
        """Yield rules, their conditions, and what they add to the scores of rows."""
        for weight in self.policy.weights:
            part = np.float32(weight.log_factor) * self._mask(weight.when)[rows]
            yield weight.where, weight.text, part
        fresh = self.policy.rules.fresh
        if fresh is not None:
            column = self.in_force.columns.column(fresh.attribute)
            at = column.numbers(self.slots[rows].ravel(), "time").reshape(rows.shape)
            age_days = np.maximum(self.batch.now_ms - at, 0) / _DAY_MS
            added = np.exp2(-age_days / fresh.half_life_days) * np.log(fresh.factor)
            yield "fresh", fresh.attribute, np.nan_to_num(added).astype(np.float32)

    # Exploring

    def explored(
        self, settings: ListSettings, found: Hits, source: NewItemFinder, keys: NDArray[np.uint64]
    ) -> tuple[Hits, list[tuple[Explored, ...]]]:
        """Return the lists with new items that they explore, and what was decided."""
        rule = self.policy.rules.explore
        if rule is None or settings.repeats == "only":
            return found, [()] * len(found.rows)
        now = self.batch.now_ms
        new = source(rule, keys, self.slots, self.types, now)
        may = np.isin(self.types[new.rows], self.search.type_numbers(settings.item_types))
        allowed = self.allowed()
        if allowed is not None:
            may &= allowed[new.rows]
        may &= ~self.index.is_removed(new.rows)
        rows = new.rows[may]
        with self.in_force.lock:
            worth = np.exp(self._worth(rows).astype(np.float64))
        question = Question(
            rule=rule,
            list_name=settings.name,
            users=self.batch.users,
            asked=self.batch.asked,
            keys=keys,
            texts=self.items.texts,
            now_ms=now,
        )
        fixed = {
            one.position - 1 for one, start, until in self.policy.slots if start <= now < until
        }
        candidates = NewCandidates(rows, new.draws[may] * worth[:, None])
        return explored(question, found, candidates, self.in_force, fixed, self._fits)

    def _fits(self, rows: NDArray[np.int64], before: NDArray[np.int64]) -> bool:
        """Whether a list, i64 [m], keeps to the limits, and to quotas where it did `before`."""
        policy = self.policy
        with self.in_force.lock:
            most = [self._mask(when)[rows] for when, _ in policy.at_most]
            meets_most = np.stack(most, axis=1) if most else np.zeros((len(rows), 0), np.bool_)
            groups, limits = shared(policy, self.in_force.columns, self.slots[rows], meets_most)
            times = np.bincount(groups[groups >= 0], minlength=len(limits))
            if (times > limits).any():
                return False
            of_before = before[before >= 0]
            return all(
                mask[rows].sum() >= min(least, mask[of_before].sum())
                for mask, least in ((self._mask(when), least) for when, least in policy.at_least)
            )

    # Explaining

    def effects(self, rows: NDArray[np.int64], first: int) -> list[tuple[RuleEffect, ...]]:
        """Return what rules did for the items of a list, i64 [m], from place `first` on."""
        found: list[list[RuleEffect]] = [[] for _ in rows]
        with self.in_force.lock:
            for rule, when, part in self._additions(rows):
                for place in np.flatnonzero(part).tolist():
                    found[place].append(RuleEffect(rule, when, float(part[place])))
        for number, (slot, start, until) in enumerate(self.policy.slots):
            place = slot.position - 1 - first
            if not start <= self.batch.now_ms < until or not 0 <= place < len(rows):
                continue
            if rows[place] == self.row_of(slot.item_type, slot.item_id):
                found[place].append(RuleEffect(f"slots[{number}]", "", 0.0))
        return [tuple(effects) for effects in found]

    def filtered(self, settings: ListSettings) -> Filtered | None:
        """Return how many items of the list's types the filter leaves; None without a filter."""
        allowed = self.allowed()
        if allowed is None:
            return None
        of_type = np.isin(self.types, self.search.type_numbers(settings.item_types))
        there = of_type & ~self.index.is_removed(np.arange(len(self.types)))
        return Filtered(items=int(there.sum()), left=int((there & allowed).sum()))

    def _filled(
        self,
        place: int,
        settings: ListSettings,
        types: Sequence[int],
        hits: Hits,
        pinned: NDArray[np.int64],
        allowed: Mask | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return a list that was short, with more candidates as long as there are any.

        Each round asks for items that no limit keeps out, so at least one of them is taken.
        """
        user = slice(place, place + 1)
        one = replace(self, batch=self.batch.take([place]))
        pool, pinned = Hits(hits.rows[user], hits.scores[user]), pinned[user]
        found = one._select(settings, pool, pinned)
        for _ in range(settings.k):
            chosen = found.rows[0][found.rows[0] >= 0]
            if len(chosen) >= settings.k:
                break
            with self.in_force.lock:
                most = [self._mask(when) for when, _ in self.policy.at_most]
                full = crowded(
                    self.policy, self.in_force.columns, self.slots, chosen,
                    np.stack(most, axis=1) if most else np.zeros((len(self.slots), 0), np.bool_),
                )  # fmt: skip
            left = ~full if allowed is None else allowed & ~full
            left[pool.rows[0][pool.rows[0] >= 0]] = False
            unlisted = self.batch.asked.unlisted[place]
            left[unlisted[unlisted >= 0]] = False
            more = one._more(settings, types, left)
            if not (more.rows >= 0).any():
                break
            pool = Hits.join([pool, self._behind(pool, more)], 1)
            found = one._select(settings, pool, pinned)
        return found.rows[0], found.scores[0]

    def _more(self, settings: ListSettings, types: Sequence[int], left: Mask) -> Hits:
        """Return further candidates of the one user of this batch."""
        if self.batch.personal[0]:
            return self._nearest(settings, types, settings.k, left, once=True)
        market = int(self.batch.markets[0])
        rows, scores = self.search.popular(market, types, settings.k, self.batch.now_ms, left)
        return Hits(rows[None], scores[None])


def _stacked(masks: Sequence[Mask], like: NDArray[np.int64]) -> Mask:
    """Return masks side by side, bool [b, p, q]."""
    if not masks:
        return np.zeros((*like.shape, 0), np.bool_)
    return np.stack(masks, axis=2)


def _distinct(hits: Hits) -> Hits:
    """Return the hits without rows that stand before them already."""
    rows = hits.rows.copy()
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.zeros(rows.shape, np.bool_)
    np.put_along_axis(repeated, order, again, axis=1)
    return Hits(np.where(repeated, -1, rows), np.where(repeated, -np.inf, hits.scores))
