"""Connected components over node ids, in one pass.

Belongs here: the partition of a graph of integers. Does not belong here: which edges are in the graph
(`edges.py`, `admission.py`). The labels are transient: a customer's id never follows from one
(`assign.py`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from segmentation.warehouse import Connection

Integers = NDArray[np.int64]


def label_components(node_count: int, node_a: Integers, node_b: Integers) -> Integers:
    """Return the component label of each node ``0 … node_count - 1``.

    Two nodes have the same label if and only if edges connect them (breadth-first search of
    `scipy.sparse.csgraph`; time and memory linear in nodes and edges).
    """
    if node_count == 0:
        return np.zeros(0, dtype=np.int64)
    ones = np.ones(len(node_a), dtype=np.int8)
    graph = coo_matrix((ones, (node_a, node_b)), shape=(node_count, node_count)).tocsr()
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, dtype=np.int64)


def fetch_integers(con: Connection, query: str) -> dict[str, Integers]:
    """Return a query's columns, all integers without nulls, as arrays by name."""
    columns: dict[str, Any] = con.execute(query).fetchnumpy()
    return {name: np.ascontiguousarray(values, dtype=np.int64) for name, values in columns.items()}
