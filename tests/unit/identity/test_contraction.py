"""Contraction in SQL: the partition that scipy finds, on graphs that defeat simpler loops, in other dialects too."""

import sqlite3

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import StrataError
from segmentation.identity.components import label_components
from segmentation.identity.contraction import PRIME, contract, label_in_engine

_NODES = 14
_EDGES = st.lists(st.tuples(st.integers(0, _NODES - 1), st.integers(0, _NODES - 1)), max_size=30)
_NOTHING = np.zeros(0, dtype=np.int64)


def _arrays(edges):
    a, b = zip(*edges, strict=True) if edges else ((), ())
    return np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)


def _lowest_of_component(node_count, node_a, node_b):
    """What the labels must be, from scipy's partition: node to the lowest node, for nodes that have an edge."""
    labels = label_components(node_count, node_a, node_b)
    lowest = np.full(node_count, node_count)
    np.minimum.at(lowest, labels, np.arange(node_count))
    nodes = np.unique(np.concatenate([node_a, node_b]))
    return dict(zip(nodes.tolist(), lowest[labels[nodes]].tolist(), strict=True))


def _contracted(con, node_a, node_b, *, seed=1):
    con.register("given_edges", pa.table({"node_a": node_a, "node_b": node_b}))
    con.execute("create or replace temp table edges as select * from given_edges")
    rounds = label_in_engine(con, "edges", "labels", seed=seed)
    labels = con.execute("select node, label from labels").fetchall()
    con.execute("drop table labels")
    assert len(dict(labels)) == len(labels)
    return dict(labels), rounds


@pytest.fixture(scope="module")
def engine():
    with duckdb.connect() as con:
        yield con


@settings(deadline=None, max_examples=60)
@given(edges=_EDGES, seed=st.integers(0, 2**32))
def test_the_partition_is_that_of_scipy_whatever_the_seed(engine, edges, seed):
    node_a, node_b = _arrays(edges)
    assert _contracted(engine, node_a, node_b, seed=seed)[0] == _lowest_of_component(_NODES, node_a, node_b)


def _hard_graph(name):
    generator = np.random.default_rng(5)
    ring = np.arange(20_000)
    graphs = {
        "chain": (ring[:-1], ring[1:]),
        "ring": (ring, np.roll(ring, 1)),
        "star": (np.zeros(20_000), 1 + np.arange(20_000)),
        "stars on a chain": (
            np.concatenate([np.arange(99), np.repeat(np.arange(100), 200)]),
            np.concatenate([1 + np.arange(99), 100 + np.arange(20_000)]),
        ),
        "random": (generator.integers(0, 30_000, 20_000), generator.integers(0, 30_000, 20_000)),
        "repeated both ways": (np.tile([1, 2, 3, 2], 2_000), np.tile([2, 1, 3, 5], 2_000)),
        "loops alone": (ring, ring),
        "grid": (
            np.concatenate([np.arange(9_900), np.arange(10_000)[np.arange(10_000) % 100 < 99]]),
            np.concatenate([np.arange(9_900) + 100, 1 + np.arange(10_000)[np.arange(10_000) % 100 < 99]]),
        ),
        "empty": (_NOTHING, _NOTHING),
    }
    node_a, node_b = (np.asarray(side, dtype=np.int64) for side in graphs[name])
    # Neighbours must not have neighbouring numbers: an order that follows the chain would flatter any algorithm.
    shuffled = generator.permutation(40_000)
    return shuffled[node_a], shuffled[node_b]


@pytest.mark.parametrize(
    "name",
    ["chain", "ring", "star", "stars on a chain", "random", "repeated both ways", "loops alone", "grid", "empty"],
)
def test_hard_graphs_take_rounds_by_their_logarithm(engine, name):
    node_a, node_b = _hard_graph(name)
    labels, rounds = _contracted(engine, node_a, node_b)
    assert labels == _lowest_of_component(40_000, node_a, node_b)
    assert rounds <= 30


def test_the_same_seed_takes_the_same_way(engine):
    graph = _hard_graph("chain")
    assert _contracted(engine, *graph, seed=4) == _contracted(engine, *graph, seed=4)


def test_nothing_is_left_behind(engine):
    before = engine.execute("select table_name from duckdb_tables() order by 1").fetchall()
    _contracted(engine, *_hard_graph("random"))
    after = engine.execute("select table_name from duckdb_tables() order by 1").fetchall()
    assert set(after) - set(before) <= {("edges",)}


@pytest.mark.parametrize("node", [-1, PRIME])
def test_a_node_that_no_rank_can_name_is_refused(engine, node):
    with pytest.raises(StrataError, match=f"{node}"):
        _contracted(engine, np.array([node]), np.array([5]))


def test_the_highest_node_is_like_any_other(engine):
    labels, _ = _contracted(engine, np.array([PRIME - 1, 0]), np.array([7, PRIME - 1]))
    assert labels == {PRIME - 1: 0, 0: 0, 7: 0}


@pytest.mark.parametrize("dialect", ["spark", "postgres", "snowflake", "bigquery"])
def test_statements_mean_the_same_in_other_dialects(engine, dialect):
    """Each statement is read back from the dialect, strictly, and run: what it lost there would show here."""
    node_a, node_b = _hard_graph("random")
    engine.register("given_edges", pa.table({"node_a": node_a, "node_b": node_b}))
    engine.execute("create or replace table portable_edges as select * from given_edges")

    def execute(statement):
        [tree] = sqlglot.parse(statement, read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
        assert not list(tree.find_all(sqlglot.exp.Command, sqlglot.exp.Anonymous)), statement
        return engine.execute(tree.sql("duckdb")).fetchall()

    contract(execute, "portable_edges", "portable_labels", dialect=dialect)
    labels = dict(engine.execute("select node, label from portable_labels").fetchall())
    engine.execute("drop table portable_labels; drop table portable_edges")
    assert labels == _lowest_of_component(40_000, node_a, node_b)


def test_another_engine_finds_the_same_partition():
    node_a, node_b = _hard_graph("stars on a chain")
    other = sqlite3.connect(":memory:")
    other.execute("create table edges (node_a integer, node_b integer)")
    other.executemany("insert into edges values (?, ?)", zip(node_a.tolist(), node_b.tolist(), strict=True))
    contract(lambda statement: other.execute(statement).fetchall(), "edges", "labels", dialect="sqlite")
    labels = dict(other.execute("select node, label from labels").fetchall())
    tables = {name for (name,) in other.execute("select name from sqlite_master")}
    other.close()
    assert labels == _lowest_of_component(40_000, node_a, node_b)
    assert tables == {"edges", "labels"}
