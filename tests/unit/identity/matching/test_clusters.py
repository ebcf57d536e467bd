"""The density ladder: loose groups come apart, dense ones stay."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.identity.matching.clusters import Ladder, climb, cluster


def group(nodes: range, weight: float) -> list[tuple[int, int, float]]:
    return [(a, b, weight) for a, b in combinations(nodes, 2)]


def arrays(pairs: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([a for a, _, _ in pairs], dtype=np.int64),
        np.array([b for _, b, _ in pairs], dtype=np.int64),
        np.array([w for _, _, w in pairs], dtype=float),
    )


def test_a_weak_bridge_between_two_groups_is_taken_down() -> None:
    pairs = [*group(range(5), 9.0), *group(range(5, 10), 9.0), (4, 5, 1.5)]
    found = cluster(10, *arrays(pairs), Ladder())
    assert len(set(found[:5])) == len(set(found[5:])) == 1
    assert found[0] != found[9]
    joined = cluster(10, *arrays(pairs), Ladder(density=0))
    assert len(set(joined)) == 1


def test_a_dense_group_with_weak_pairs_and_a_small_one_stay() -> None:
    chain_of_three = [(10, 11, 0.5), (11, 12, 0.5)]
    found = cluster(13, *arrays([*group(range(5), 0.5), *chain_of_three]), Ladder())
    assert len(set(found[:5])) == 1
    assert len(set(found[10:])) == 1


pair = st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(-4, 40)).filter(lambda one: one[0] < one[1])


@given(st.lists(pair, max_size=60, unique_by=lambda one: one[:2]), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_what_remains_is_dense_small_or_as_strong_as_the_top(pairs: list[tuple[int, int, int]], density: float) -> None:
    ladder = Ladder(density=density)
    a, b, weight = arrays([(x, y, float(w)) for x, y, w in pairs])
    remains = climb(a, b, weight, ladder)
    assert not (remains & (weight < ladder.start)).any()
    labels = cluster(15, a, b, weight, ladder)
    top = ladder.start + ladder.rungs * ladder.step
    for label in set(labels):
        members = np.flatnonzero(labels == label)
        inside = remains & np.isin(a, members)
        wanted = density * len(members) * (len(members) - 1) / 2
        if len(members) >= ladder.least_size and inside.sum() < wanted:
            assert (weight[inside] >= top).all()


@given(st.lists(pair, max_size=40, unique_by=lambda one: one[:2]), st.randoms())
def test_the_order_of_pairs_says_nothing(pairs: list[tuple[int, int, int]], random) -> None:
    given_order = [(x, y, float(w)) for x, y, w in pairs]
    shuffled = random.sample(given_order, len(given_order))
    kept = climb(*arrays(given_order), Ladder())
    kept_shuffled = climb(*arrays(shuffled), Ladder())
    assert {p for p, k in zip(given_order, kept, strict=True) if k} == {
        p for p, k in zip(shuffled, kept_shuffled, strict=True) if k
    }
