"""The limit of stage ``sync``: one insert of every customer's state into SQLite, and one file of flags.

Left out: consent per destination, the desired state and its log in a database of its own, positions and epochs,
reading everything back to prove it.
"""

import json
import sqlite3
from pathlib import Path

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


def store_path(settings: Settings) -> Path:
    """Return the SQLite file that the limit writes."""
    return settings.data / "limit.sqlite"


def run_limit(settings: Settings, _run: Run) -> None:
    """Write every customer's state into an empty SQLite file in one transaction, and the flags into a file."""
    store_path(settings).unlink(missing_ok=True)
    store = sqlite3.connect(store_path(settings), isolation_level=None)
    try:
        store.execute("create table members (customer_id text primary key, value text not null) without rowid")
        store.execute("begin")
        with open_scratch(settings) as con:
            con.execute(_VALUES)
            while rows := con.fetchmany(_CHUNK):
                store.executemany("insert into members values (?, ?)", rows)
            flags = con.execute("select segment_key, segment_version, group_key from house.segments.catalog").fetchall()
        store.execute("commit")
    finally:
        store.close()
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
