"""Partitions: equal to a plain union-find, whatever the order, and never beyond a limit."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.identity.components import label_components
from segmentation.identity.partition import ConstrainedPartition, Limits

_NODES = 12
_EDGES = st.lists(st.tuples(st.integers(0, _NODES - 1), st.integers(0, _NODES - 1)), max_size=30)


def _reference(edges):
    """Union-find in its plainest form."""
    root = list(range(_NODES))

    def find(node):
        while root[node] != node:
            node = root[node]
        return node

    for a, b in edges:
        root[find(a)] = find(b)
    return _blocks(find(node) for node in range(_NODES))


def _blocks(labels):
    blocks = defaultdict(set)
    for node, label in enumerate(labels):
        blocks[label].add(node)
    return {frozenset(block) for block in blocks.values()}


def _arrays(edges):
    return (np.array([edge[side] for edge in edges], dtype=np.int64) for side in (0, 1))


@given(_EDGES)
def test_components_equal_union_find(edges):
    assert _blocks(label_components(_NODES, *_arrays(edges)).tolist()) == _reference(edges)


def test_a_chain_of_100_000_is_one_component():
    nodes = np.arange(100_000, dtype=np.int64)
    assert len(np.unique(label_components(len(nodes), nodes[:-1], nodes[1:]))) == 1


def test_no_nodes_have_no_components():
    nothing = np.zeros(0, dtype=np.int64)
    assert len(label_components(0, nothing, nothing)) == 0


def _partition(classes, owners, limits):
    partition = ConstrainedPartition(limits)
    for node in range(_NODES):
        partition.add(node, classes[node], owners.get(node, node))
    return partition


@given(_EDGES)
def test_without_a_limit_in_reach_every_edge_is_admitted(edges):
    partition = _partition([0] * _NODES, {}, Limits(_NODES, {0: _NODES}, {0: "rule"}))
    assert [partition.union(a, b) for a, b in edges] == [None] * len(edges)
    assert _blocks(partition.find(node) for node in range(_NODES)) == _reference(edges)


@given(
    _EDGES,
    st.lists(st.integers(0, 2), min_size=_NODES, max_size=_NODES),
    st.dictionaries(st.integers(0, _NODES - 1), st.integers(0, 3), max_size=4),
    st.integers(2, 6),
    st.integers(1, 3),
)
def test_no_cluster_breaks_a_limit_and_no_edge_is_refused_without_need(edges, classes, owners, max_nodes, max_owners):
    limits = Limits(max_nodes, {0: max_owners, 1: 2, 2: 5}, {0: "zero", 1: "one", 2: "two"})
    partition = _partition(classes, owners, limits)
    for a, b in edges:
        before = [
            {node for node in range(_NODES) if partition.find(node) == root}
            for root in {partition.find(a), partition.find(b)}
        ]
        rule = partition.union(a, b)
        if rule is not None:
            assert _breaks(set().union(*before), classes, owners, limits)
        for block in _blocks(partition.find(node) for node in range(_NODES)):
            assert not _breaks(block, classes, owners, limits)


def _breaks(block, classes, owners, limits):
    counted = defaultdict(set)
    for node in block:
        counted[classes[node]].add(owners.get(node, node))
    return len(block) > limits.max_nodes or any(len(held) > limits.by_class[kind] for kind, held in counted.items())
