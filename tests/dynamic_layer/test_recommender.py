"""Recommendations."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from dynamic_layer import DynamicBundle, ListSettings, NewItems, Recommender, default_lists
from dynamic_layer.serving.user_reading import features_of, histories_of
from state.items import item_key
from tests.dynamic_layer.worlds import DAY_MS, START_MS, Items, make_user

NOW_MS = START_MS + 30 * DAY_MS
MIX = ListSettings(name="mix")


@pytest.fixture
def recommender(bundle: DynamicBundle) -> Recommender:
    return Recommender(bundle)


def rows(ids: list[str]) -> list[int]:
    return [int(name[1:]) for name in ids]


def test_users_get_items_of_their_topic_that_they_did_not_have(
    recommender: Recommender, items: Items
) -> None:
    for topic in range(6):
        history = [topic, topic + 6, topic + 12]
        user = make_user(items, history, now_ms=NOW_MS)
        ranking = recommender.recommend([user], [MIX], NOW_MS)[0]["mix"]
        found = rows(ranking.item_ids)
        assert len(ranking) == 10
        assert not set(found) & set(history)
        assert np.mean(items.topic[found] == topic) >= 0.7
        assert (np.diff(ranking.scores) <= 0).all()


def test_prepared_items_give_the_user_vectors_of_the_towers(
    bundle: DynamicBundle, recommender: Recommender, items: Items
) -> None:
    users = [make_user(items, history, now_ms=NOW_MS) for history in ([0, 7, 3], [5], [])]
    features = features_of(users, histories_of(users, recommender.rows), NOW_MS)
    torch.testing.assert_close(
        recommender._user_vectors(features), bundle.user_vectors(features), atol=1e-5, rtol=1e-4
    )


def test_lists_keep_to_their_types(recommender: Recommender, items: Items) -> None:
    user = make_user(items, [0, 6], now_ms=NOW_MS)
    answer = recommender.recommend([user], default_lists(recommender.bundle.types), NOW_MS)[0]
    assert list(answer) == ["mix", "discover-audiobook", "discover-podcast"]
    assert set(answer["discover-podcast"].item_types) == {"podcast"}
    assert set(answer["discover-audiobook"].item_types) == {"audiobook"}


def test_repeats_are_excluded_included_or_the_only_thing(
    recommender: Recommender, items: Items
) -> None:
    history = [2, 8, 14]
    user = make_user(items, history, now_ms=NOW_MS)
    lists = [
        ListSettings(name="included", k=30, repeats="include"),
        ListSettings(name="only", repeats="only"),
        ListSettings(name="only-podcasts", item_types=("podcast",), repeats="only"),
    ]
    answer = recommender.recommend([user], lists, NOW_MS)[0]
    assert set(rows(answer["included"].item_ids)) >= set(history)
    assert set(rows(answer["only"].item_ids)) == set(history)
    assert set(rows(answer["only-podcasts"].item_ids)) == {2, 14}


def test_a_weak_signal_does_not_make_an_item_known(recommender: Recommender, items: Items) -> None:
    """An item that was only previewed may be recommended for discovery, and is no repeat."""
    user = make_user(items, [0, 6, 12, 24], now_ms=NOW_MS)
    user = replace(user, history_strong=np.array([True, True, False, True]))
    lists = [ListSettings(name="mix", k=120), ListSettings(name="only", repeats="only")]
    answer = recommender.recommend([user], lists, NOW_MS)[0]
    assert 12 in rows(answer["mix"].item_ids)
    assert not {0, 6, 24} & set(rows(answer["mix"].item_ids))
    assert set(rows(answer["only"].item_ids)) == {0, 6, 24}


def test_an_answer_does_not_depend_on_who_else_is_asked_about(
    recommender: Recommender, items: Items
) -> None:
    users = [make_user(items, [row, row + 6], now_ms=NOW_MS) for row in range(6)]
    users.append(make_user(items, [], now_ms=NOW_MS))
    together = recommender.recommend(users, [MIX], NOW_MS)
    for user, answer in zip(users, together, strict=True):
        alone = recommender.recommend([user], [MIX], NOW_MS)[0]
        assert alone["mix"].item_ids == answer["mix"].item_ids


def test_users_without_history_get_the_popularity_of_their_market(
    recommender: Recommender, items: Items
) -> None:
    nobody, german = (make_user(items, [], now_ms=NOW_MS, country=c) for c in ("", "DE"))
    everywhere, in_market = (
        answer["mix"].item_ids for answer in recommender.recommend([nobody, german], [MIX], NOW_MS)
    )
    popularity = recommender.bundle.popularity
    assert rows(everywhere)[0] == int(np.argmax(popularity[0]))
    assert everywhere != in_market
    assert len(in_market) == 10


def test_new_items_are_recommended_at_once_and_read_from_histories(
    recommender: Recommender, items: Items
) -> None:
    new = {
        "item_keys": np.array([item_key("podcast", "new")], np.uint64),
        "item_ids": ["new"],
        "item_types": ["podcast"],
        "languages": ["en"],
        "genres": [None],
        "text": items.text[:1],
    }
    assert recommender.add_items(NewItems(**new)) == 1
    assert recommender.add_items(NewItems(**new)) == 0  # type: ignore[arg-type]
    assert len(recommender) == len(items.item_ids) + 1
    everything = ListSettings(name="all", k=len(recommender), repeats="include")
    user = make_user(items, [0], now_ms=NOW_MS)
    assert "new" in recommender.recommend([user], [everything], NOW_MS)[0]["all"].item_ids
    only = ListSettings(name="only", repeats="only")
    user = make_user(items, [0], now_ms=NOW_MS)
    fan = type(user)(
        user_id="fan",
        history_item=new["item_keys"],  # type: ignore[arg-type]
        history_time=np.array([NOW_MS]),
        history_strong=np.array([True]),
    )
    answers = recommender.recommend([user, fan], [only, MIX], NOW_MS)
    assert answers[1]["only"].item_ids == ["new"]
    assert "new" not in answers[1]["mix"].item_ids


def test_a_new_item_stands_where_an_item_of_its_type_with_average_demand_would(
    recommender: Recommender, items: Items
) -> None:
    bundle = recommender.bundle
    bias = np.where(items.topic == 1, 3.0, 0.0).astype(np.float32)
    books = np.array([name == "audiobook" for name in items.item_types])
    bias[books] = -5.0
    uneven = Recommender(replace(bundle, bias=bias))
    uneven.add_items(NewItems(
        item_keys=np.array([item_key(t, "new") for t in ("podcast", "audiobook")], np.uint64),
        item_ids=["new", "new"], item_types=["podcast", "audiobook"], languages=[None, None],
        genres=[None, None], text=items.text[:2]))  # fmt: skip
    served = uneven.served_vectors(np.arange(len(items.item_ids), len(items.item_ids) + 2))
    # A sixth of the podcasts has e^3 times the demand of the others.
    assert served[:, -1] == pytest.approx([np.log((np.exp(3.0) + 5) / 6), -5.0], abs=1e-5)


def test_new_items_of_an_unknown_type_wait_for_the_next_bundle(recommender: Recommender) -> None:
    added = recommender.add_items(
        NewItems(
            item_keys=np.array([1], np.uint64),
            item_ids=["x"],
            item_types=["film"],
            languages=[None],
            genres=[None],
            text=np.zeros((1, 24), np.float32),
        )
    )
    assert added == 0


def test_removed_items_are_never_recommended_not_even_as_popular(
    recommender: Recommender, items: Items
) -> None:
    user, nobody = (make_user(items, history, now_ms=NOW_MS) for history in ([3], []))
    lists = [MIX, ListSettings(name="only", repeats="only")]
    before = recommender.recommend([user, nobody], lists, NOW_MS)
    gone = {3, *rows(before[0]["mix"].item_ids), *rows(before[1]["mix"].item_ids)}
    assert recommender.remove_items(items.item_keys[sorted(gone)]) == len(gone)
    for answer in recommender.recommend([user, nobody], lists, NOW_MS):
        for ranking in answer.values():
            assert not gone & set(rows(ranking.item_ids))
    assert not gone & set(rows(before[0]["only"].item_ids)) - {3}


def test_restored_items_are_recommended_as_before(recommender: Recommender, items: Items) -> None:
    """Also where the index was made without them meanwhile, and of items that came later."""
    later = NewItems(
        item_keys=np.array([item_key("podcast", "new")], np.uint64), item_ids=["new"],
        item_types=["podcast"], languages=[None], genres=[None], text=items.text[:1],
    )  # fmt: skip
    recommender.add_items(later)
    everything = ListSettings(name="all", k=len(recommender), repeats="include")
    user = make_user(items, [3], now_ms=NOW_MS)

    def scores() -> dict[str, float]:
        found = recommender.recommend([user], [everything], NOW_MS)[0]["all"]
        return dict(zip(found.item_ids, found.scores.tolist(), strict=True))

    before = scores()
    gone = np.append(items.item_keys[:40], later.item_keys)
    for fold in (False, True):
        recommender.remove_items(gone)
        assert len(scores()) == len(before) - len(gone)
        for number in recommender.index.known_types() if fold else ():
            recommender.index.fold(number)
        assert recommender.restore_items(gone) == len(gone)
        assert scores() == pytest.approx(before, abs=1e-5)
    assert recommender.restore_items(gone) == 0


def test_unknown_items_and_types_in_a_request_are_no_error(
    recommender: Recommender, items: Items
) -> None:
    user = make_user(items, [0], now_ms=NOW_MS)
    stranger = type(user)(
        user_id="s",
        history_item=np.array([1, 2], np.uint64),
        history_time=np.array([NOW_MS, NOW_MS]),
        history_strong=np.array([True, False]),
    )
    films = ListSettings(name="films", item_types=("film",))
    answers = recommender.recommend([stranger], [MIX, films], NOW_MS)
    assert len(answers[0]["mix"]) == 10
    assert len(answers[0]["films"]) == 0
    assert recommender.recommend([], [MIX], NOW_MS) == []


def test_a_batch_of_64_users_is_answered_quickly(recommender: Recommender, items: Items) -> None:
    users = [make_user(items, [row % 120], now_ms=NOW_MS) for row in range(64)]
    lists = default_lists(recommender.bundle.types)
    recommender.recommend(users, lists, NOW_MS)
    best = min(_seconds(recommender, users, lists) for _ in range(5))
    assert best < 0.1


def _seconds(recommender: Recommender, users: list, lists: tuple[ListSettings, ...]) -> float:  # type: ignore[type-arg]
    start = time.perf_counter()
    recommender.recommend(users, lists, NOW_MS)
    return time.perf_counter() - start
