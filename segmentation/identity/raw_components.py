"""How large components are before the guards R3 and R4, and what the guards made of them.

Belongs here: measuring a solved candidate. Does not belong here: the classes of sizes (`sizes.py`), solving
(`admission.py`), or what is too large (the gate's suite).
"""

import numpy as np
import pyarrow as pa

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import Integers, fetch_integers, label_components
from segmentation.identity.sizes import CUSTOMERS, RAW, count_by_class
from segmentation.warehouse import Connection


def measure_raw(con: Connection, rules: IdentifierRules) -> dict[str, int]:
    """Return the identifiers in the largest component before R3 and R4, and how components are distributed over sizes.

    Reads the candidate's customers, ``links``, ``nodes`` and ``excluded``. What was admitted is in one piece already: a
    customer, or a shared identifier by itself. Only the edges that R3 and R4 refused can join pieces, and few
    identifiers have one.

    Returns:
        ``raw_max_component``, ``raw_components_over_limit`` (how many hold more than a customer can), and by class of
        size the components before the guards and the customers after them (see `sizes`).
    """
    customers = fetch_integers(
        con,
        "select n_nodes as size, count(*) as n from identity.candidate_customers where status = 'active' group by 1",
    )
    [(alone,)] = con.execute(
        "select count(*) from nodes join excluded using (node_id) where status = 'shared'"
    ).fetchall()
    pieces, blobs = _join_refused(con)
    sizes = np.concatenate([customers["size"], np.ones(1, dtype=np.int64), pieces, blobs])
    counts = np.concatenate([customers["n"], [alone], np.full(len(pieces), -1), np.ones(len(blobs), dtype=np.int64)])
    largest = max(int(customers["size"].max(initial=0)), int(alone > 0), int(blobs.max(initial=0)))
    return {
        "raw_max_component": largest,
        "raw_components_over_limit": int(np.count_nonzero(blobs > rules.max_nodes)),
        **count_by_class(RAW, sizes, counts),
        **count_by_class(CUSTOMERS, customers["size"], customers["n"]),
    }


def _join_refused(con: Connection) -> tuple[Integers, Integers]:
    """Return the sizes of the pieces that refused edges end at, and those of what the edges would make of them."""
    refused = fetch_integers(con, "select distinct node_a, node_b from links where is_raw and reject_rule is not null")
    ends = np.unique(np.concatenate([refused["node_a"], refused["node_b"]]))
    con.register("ends", pa.table({"node_id": ends}))
    found = fetch_integers(
        con,
        "select e.node_id, coalesce(k.customer_seq, -1 - e.node_id) as piece, coalesce(k.n_nodes, 1) as n_nodes "
        "from ends as e left join identity.candidate_identifier_map as m using (node_id) "
        "left join identity.candidate_customers as k using (customer_id) order by e.node_id",
    )
    con.unregister("ends")
    pieces, first, codes = np.unique(found["piece"], return_index=True, return_inverse=True)
    joined = [codes[np.searchsorted(ends, refused[name])] for name in ("node_a", "node_b")]
    blobs = label_components(len(pieces), joined[0], joined[1])
    sizes = found["n_nodes"][first]
    return sizes, np.bincount(blobs, weights=sizes).astype(np.int64)
