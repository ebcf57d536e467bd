"""Differences are found wherever rows differ, and nowhere else."""

from collections import Counter

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.identity.comparison import find_differing

_ROWS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["a", "b", None]), st.none() | st.floats(0, 1)))


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as con:
        yield con


def _fill(con, table, rows):
    con.execute(f"create or replace table {table} (node bigint, word varchar, share double)")
    if rows:
        con.executemany(f"insert into {table} values (?, ?, ?)", rows)


@given(_ROWS, _ROWS, _ROWS)
def test_a_key_differs_if_its_rows_are_not_there_equally_often(con, same, now, then):
    _fill(con, "rows_now", same + now)
    _fill(con, "rows_then", then + same)
    counted = [Counter(rows) for rows in (now, then)]
    expected = {row[0] for row in counted[0] | counted[1] if counted[0][row] != counted[1][row]}
    found = find_differing(con, "from rows_now", "from rows_then", "node")
    assert found.tolist() == sorted(expected)


def test_far_keys_are_told_apart(con):
    _fill(con, "rows_now", [(node, "a", None) for node in range(0, 3_000_000, 1000)])
    _fill(con, "rows_then", [(node, "b" if node == 2_000_000 else "a", None) for node in range(0, 2_999_000, 1000)])
    assert find_differing(con, "from rows_now", "from rows_then", "node").tolist() == [2_000_000, 2_999_000]
