"""The limit of stage ``identity``: distinct tuples of identifiers, connected components, the map.

Left out: normalising values, kinds of evidence, guards and limits, ids that persist. `run_tables` adds, written by hand
in the simplest way, what the contract says that the stage hands on: the registry, identifiers, edges, customers, map,
look-up, history, events, accounts, consents and profiles, each with its columns and the run's stamps, and the export of
the state as Parquet.
"""

import shutil
from importlib.resources import files

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.limits.scratch import open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

#: The identifiers that rows of each entity carry, and when they were seen.
_CARRIED = {
    "customer_records": ("source_customer_id user_id email phone", "updated_at"),
    "subscriptions": ("user_id email", "updated_at"),
    "invoices": ("user_id email", "updated_at"),
    "orders": ("source_customer_id user_id email phone", "ordered_at"),
    "events": ("user_id email device_id anonymous_id", "occurred_at"),
    "requests": ("user_id", "occurred_at"),
    "tickets": ("user_id email", "updated_at"),
    "consent_events": ("user_id email", "occurred_at"),
    "form_submissions": ("email anonymous_id", "submitted_at"),
}
_ATTRIBUTES = ("first_name", "last_name", "country", "company_name", "residency_region")
#: Of what the stage exports, the tables that hold anything after a first run.
_STATE = ("registry", "identifiers", "customers", "identifier_map", "identifier_map_history", "events")
_TYPES = ("source_customer_id", "user_id", "email", "phone", "device_id", "anonymous_id")


def run_limit(settings: Settings, _run: Run) -> None:
    """Find who belongs together, and write which component each identifier is in."""
    with open_scratch(settings) as con:
        tuples = " union ".join(
            f"select distinct {_columns(carried)} from house.sources.{entity}"
            for entity, (carried, _) in _CARRIED.items()
        )
        con.execute(f"create temp table tuples as {tuples}")
        _write_map(con)


def run_tables(settings: Settings, run: Run) -> None:
    """Do the same, and write the other published tables of the stage from it."""
    with open_scratch(settings) as con:
        # Looking for the best compression of so many ids costs more than writing them as they are.
        con.execute("set force_compression = 'uncompressed'")
        tuples = " union all ".join(
            f"select {_columns(carried)}, source, '{entity}' as evidence, min({at}) as first_at, "
            f"max({at}) as last_at, count(*) as n from house.sources.{entity} group by all"
            for entity, (carried, at) in _CARRIED.items()
        )
        con.execute(f"create temp table tuples as {tuples}")
        _write_map(con, ("source", "evidence", "first_at", "last_at", "n"))
        text = files("benchmarks.limits").joinpath("identity.sql").read_text(encoding="utf-8")
        stamps = f"{literal(run.run_id)} as run_id, timestamp '{run.recorded_at:%Y-%m-%d %H:%M:%S}' as recorded_at"
        stated = ", ".join(
            f"arg_max({name}, updated_at) as {name}, "
            f"arg_max(r.source, updated_at) filter ({name} is not null) as {name}_source, "
            f"max(updated_at) filter ({name} is not null) as {name}_at"
            for name in _ATTRIBUTES
        )
        for statement in filter(str.strip, text.format(stamps=stamps, stated=stated).split(";\n")):
            con.execute(statement, {"as_of": run.as_of} if "$as_of" in statement else None)
        _export(con, settings)


def _export(con: Connection, settings: Settings) -> None:
    """Write the state that can't be made again to Parquet, as the stage does at every publish."""
    folder = settings.data / "limit-state"
    folder.mkdir()
    for table in _STATE:
        con.execute(f"copy {table} to {literal(str(folder / f'{table}.parquet'))} (format parquet, compression zstd)")
    shutil.rmtree(folder)


def _columns(carried: str) -> str:
    names = carried.split()
    raw = {name: name if name in names else f"null::varchar as {name}" for name in _TYPES}
    if "source_customer_id" in names:
        raw["source_customer_id"] = "source || ':' || source_customer_id as source_customer_id"
    return ", ".join(raw.values())


def _write_map(con: Connection, facts: tuple[str, ...] = ()) -> None:
    """Number the identifiers of ``tuples``, find the components, write ``labelled``; keep ``stars``.

    ``facts`` are columns of ``tuples`` that ``stars`` carries along; with them, ``labelled`` is on the way to more.
    """
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
    rest = "".join(f", t.{name}" for name in facts)
    con.execute(f"create temp table stars as select {nodes}{rest} from tuples as t {joins}")
    hub = f"coalesce({', '.join(_TYPES)})"
    rays = " union all ".join(
        f"select {hub} as a, {name} as b from stars where {name} is not null and {name} <> {hub}" for name in _TYPES[1:]
    )
    edges = con.execute(f"select distinct a, b from ({rays})").fetchnumpy()
    size = con.execute("select count(*) from nodes").fetchall()[0][0]
    ones = np.ones(len(edges["a"]), dtype=np.int8)
    graph = coo_matrix((ones, (np.asarray(edges["a"]), np.asarray(edges["b"]))), shape=(size, size)).tocsr()
    _, labels = connected_components(graph, directed=False)
    con.register("labels", pa.table({"node": np.arange(size), "component": labels}))
    kind = "temp table" if facts else "table"
    con.execute(
        f"create {kind} labelled as select node, id_type, id_value, component from nodes join labels using (node)"
    )
    con.unregister("labels")


def agreement(con: Connection) -> dict[str, int]:
    """Return identifiers of the limit and of the stage; normalising makes some of the raw ones equal."""
    return {
        "limit_identifiers": con.execute("select count(*) from labelled").fetchall()[0][0],
        "stage_raw_values": con.execute(
            "select (select count(*) from house.identity.normalised_values) + "
            "(select count(*) from house.identity.registry where is_raw)"
        ).fetchall()[0][0],
    }
