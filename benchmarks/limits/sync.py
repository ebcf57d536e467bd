"""The limit of stage ``sync``: one insert of every customer's state into SQLite, and one file of flags.

Left out: consent per destination, the desired state in a database of its own, positions and epochs, reading
everything back to prove it. `run_tables` adds what of that grows with the customers: the desired state in a second
SQLite file and in the warehouse, and reading the store back to compare it.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from benchmarks.limits.scratch import open_scratch
from orchestration.settings import Settings
from segmentation.run import Run
from segmentation.warehouse import Connection

_CHUNK = 50_000

_VALUES = """
select customer_id, '{"segments":{' || segments || '},"groups":{' || coalesce(groups, '') || '}}'
from (
    select
        customer_id,
        string_agg('"' || segment_key || '":' || segment_version, ',' order by segment_key) as segments,
        string_agg('"' || group_key || '":"' || segment_key || '"', ',' order by group_key)
            filter (where group_key is not null) as groups
    from house.segments.membership
    join (select segment_key, group_key from house.segments.catalog) using (segment_key)
    group by customer_id
)
"""


_DIFFERING = """
select count(*) from desired full join held using (customer_id) where desired.value is distinct from held.value
"""

_DIGEST = "select sha256(string_agg(customer_id || chr(31) || value, chr(30) order by customer_id)) from held"


def store_path(settings: Settings) -> Path:
    """Return the SQLite file that the limit writes."""
    return settings.data / "limit.sqlite"


def run_limit(settings: Settings, _run: Run) -> None:
    """Write every customer's state into an empty SQLite file in one transaction, and the flags into a file."""
    with open_scratch(settings) as con:
        _fill(con, store_path(settings), _VALUES)
        _write_flags(con, settings)


def run_tables(settings: Settings, _run: Run) -> None:
    """Do the same, keep the desired state beside it, read the store back and compare."""
    with open_scratch(settings) as con:
        con.execute(f"create table desired as select * from ({_VALUES}) as states (customer_id, value)")
        _fill(con, store_path(settings).with_name("limit_state.sqlite"), "from desired")
        _fill(con, store_path(settings), "from desired")
        con.execute("create table held (customer_id varchar, value varchar)")
        with closing(sqlite3.connect(store_path(settings))) as store:
            found = store.execute("select customer_id, value from members")
            while rows := found.fetchmany(_CHUNK):
                customers, values = zip(*rows, strict=True)
                con.register("part", pa.table({"customer_id": customers, "value": values}))
                con.execute("insert into held from part")
                con.unregister("part")
        differing = con.execute(_DIFFERING).fetchall()
        if differing != [(0,)]:
            raise AssertionError(f"{differing[0][0]} states differ from what was written")
        con.execute(
            "select sha256(string_agg(customer_id || chr(31) || value, chr(30) order by customer_id)) from held"
        )
        _write_flags(con, settings)


def _fill(con: Connection, path: Path, states: str) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("create table members (customer_id text primary key, value text not null) without rowid")
        store.execute("begin")
        con.execute(states)
        while rows := con.fetchmany(_CHUNK):
            store.executemany("insert into members values (?, ?)", rows)
        store.execute("commit")


def _write_flags(con: Connection, settings: Settings) -> None:
    flags = con.execute("select segment_key, segment_version, group_key from house.segments.catalog").fetchall()
    document = {"flags": {key: {"version": version, "group": group} for key, version, group in flags}}
    store_path(settings).with_suffix(".json").write_text(json.dumps(document), encoding="utf-8")


def agreement(_con: Connection, settings: Settings) -> dict[str, int]:
    """Return how many customers' states the limit lacks or states otherwise than the online store."""
    store = sqlite3.connect(settings.data / "online_store.db")
    try:
        store.execute("attach ? as mine", [str(store_path(settings))])
        tables = store.execute("select name from main.sqlite_master where name like 'strata_members_%'").fetchall()
        # A merged id's pointer is not the limit's business.
        rows = f"select customer_id, value from main.{max(tables)[0]} where instr(value, 'groups')"
        return {
            "stage_rows": store.execute(f"select count(*) from ({rows})").fetchall()[0][0],
            "missing": store.execute(
                f"select count(*) from ({rows} and customer_id <> '#segments' "
                "except select customer_id, value from mine.members)"
            ).fetchall()[0][0],
        }
    finally:
        store.close()
