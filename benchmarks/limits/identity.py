"""The limit of stage ``identity``: distinct tuples of identifiers, connected components, the map.

Left out: normalising values, kinds of evidence, guards and limits, ids that persist, consent, profiles, history.
"""

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.limits.scratch import open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection

#: The identifiers that rows of each entity carry.
_CARRIED = {
    "customer_records": "source_customer_id user_id email phone",
    "subscriptions": "user_id email",
    "invoices": "user_id email",
    "orders": "source_customer_id user_id email phone",
    "events": "user_id email device_id anonymous_id",
    "requests": "user_id",
    "tickets": "user_id email",
    "consent_events": "user_id email",
    "form_submissions": "email anonymous_id",
}
_TYPES = ("source_customer_id", "user_id", "email", "phone", "device_id", "anonymous_id")


def run_limit(settings: Settings, _run: Run) -> None:
    """Find who belongs together, and write which component each identifier is in."""
    with open_scratch(settings) as con:
        tuples = " union ".join(
            "select distinct "
            + ", ".join(_column(name, name in carried.split()) for name in _TYPES)
            + f" from house.sources.{entity}"
            for entity, carried in _CARRIED.items()
        )
        con.execute(f"create temp table tuples as {tuples}")
        values = " union all ".join(
            f"select distinct '{name}' as id_type, {name} as id_value from tuples where {name} is not null"
            for name in _TYPES
        )
        con.execute(f"create temp table nodes as select (row_number() over () - 1)::bigint as node, * from ({values})")
        joins = " ".join(
            f"left join nodes as n_{name} on n_{name}.id_type = '{name}' and n_{name}.id_value = t.{name}"
            for name in _TYPES
        )
        nodes = ", ".join(f"n_{name}.node as {name}" for name in _TYPES)
        con.execute(f"create temp table stars as select {nodes} from tuples as t {joins}")
        hub = f"coalesce({', '.join(_TYPES)})"
        rays = " union all ".join(
            f"select {hub} as a, {name} as b from stars where {name} is not null and {name} <> {hub}"
            for name in _TYPES[1:]
        )
        edges = con.execute(f"select distinct a, b from ({rays})").fetchnumpy()
        size = con.execute("select count(*) from nodes").fetchall()[0][0]
        ones = np.ones(len(edges["a"]), dtype=np.int8)
        graph = coo_matrix((ones, (np.asarray(edges["a"]), np.asarray(edges["b"]))), shape=(size, size)).tocsr()
        _, labels = connected_components(graph, directed=False)
        con.register("labels", pa.table({"node": np.arange(size), "component": labels}))
        con.execute(
            "create table identifier_map as select id_type, id_value, component from nodes join labels using (node)"
        )
        con.unregister("labels")


def _column(name: str, is_carried: bool) -> str:
    if not is_carried:
        return f"null::varchar as {name}"
    return "source || ':' || source_customer_id as source_customer_id" if name == "source_customer_id" else name


def agreement(con: Connection) -> dict[str, int]:
    """Return identifiers of the limit and of the stage; normalising makes some of the raw ones equal."""
    return {
        "limit_identifiers": con.execute("select count(*) from identifier_map").fetchall()[0][0],
        "stage_raw_values": con.execute("select count(*) from house.identity.normalised_values").fetchall()[0][0],
    }
