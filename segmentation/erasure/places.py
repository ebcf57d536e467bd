"""Forgetting a customer outside the warehouse's tables: exports, sync, destinations, files.

Belongs here: each place, on its own, so that one that fails keeps no other from finishing. Does not belong here: the
warehouse's rows (`erase.py`), or running the chain, which tells destinations to let go. Every step may be done again.
"""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.erasure.requests import Erasure, Sink
from segmentation.errors import StrataError
from segmentation.identity.state import export_state as export_identity
from segmentation.run import Run
from segmentation.segments.publications import latest_publication
from segmentation.segments.state import export_state as export_segments
from segmentation.state_exports import list_exports
from segmentation.sync.catalog import FlagdDestination, SqlDestination
from segmentation.sync.left_places import LeftPlace
from segmentation.sync.state import State
from segmentation.sync.stores.opening import open_store
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore
from segmentation.warehouse import Connection, Warehouse, quote

Destination = SqlDestination | FlagdDestination


def renew_exports(con: Connection, identity_folder: Path, segments_folder: Path, audit_folder: Path, run: Run) -> Sink:
    """Export the states as they are now, and delete every export from before: each held the customer.

    Raises:
        StrataError: Membership has been exported and is not in the warehouse: deleting those exports would lose it.
            Identity's have been renewed.
    """
    ensure_schema(con, "segments")
    fresh = {export_identity(con, identity_folder, run)}
    deleted = _delete_others(identity_folder, fresh)
    if latest_publication(con):
        fresh.add(export_segments(con, segments_folder, run))
    elif found := list_exports(segments_folder):
        raise StrataError(
            f"{len(found)} exports of membership may hold the customer and can't be renewed, because no membership is "
            "published: strata restore segments, or delete them, then resume",
            where=str(segments_folder),
            expected="the membership that they hold in the warehouse, or no export",
            repair="strata restore segments, or delete the exports if they are another warehouse's; "
            f"then strata erase --resume {run.run_id}",
        )
    deleted += _delete_others(segments_folder, fresh)
    audit.keep_copy(con, audit_folder)
    return Sink("exports", "finished", {"exports_deleted": deleted})


def _delete_others(folder: Path, fresh: Collection[Path]) -> int:
    """Delete the exports in a folder that are not ``fresh``; return how many."""
    if not folder.exists():
        return 0
    old = [path for path in list_exports(folder) if path not in fresh]
    # Drafts and set-aside exports that a killed run left hold as much as whole ones.
    old += [path for path in folder.iterdir() if path.is_dir() and path.name.startswith(".")]
    for path in old:
        shutil.rmtree(path)
    return len(old)


def forget_in_sync(con: Connection, state_url: str, erasure: Erasure) -> Sink:
    """Empty what sync remembers of the customer; views that still want the customer delivered are told."""
    state = State(state_url)
    try:
        holding = state.holders(erasure.customer_ids)
        forgotten = state.forget_customers(erasure.customer_ids)
    finally:
        state.close()
    if not holding:
        forgotten += _forget_copies(con, erasure.customer_ids)
    detail: dict[str, object] = {"rows_emptied": forgotten}
    if holding:
        # A run of sync takes the customer out of its views; nothing else may.
        detail["views_still_holding"] = len(holding)
        return Sink("sync", "running", detail)
    return Sink("sync", "finished", detail)


def _forget_copies(con: Connection, customer_ids: Sequence[str]) -> int:
    tables = con.execute(
        "select c.table_name from duckdb_columns() as c join duckdb_tables() as t on t.schema_name = c.schema_name "
        "and t.table_name = c.table_name where c.schema_name = 'sync' and c.column_name = 'customer_id' "
        "and not t.temporary and t.database_name = current_database() order by 1"
    ).fetchall()
    gone = 0
    for (table,) in tables:
        deleted = con.execute(f"delete from sync.{quote(table)} where customer_id in ?", [list(customer_ids)])
        gone += int(deleted.fetchall()[0][0])
    return gone


def forget_at_destinations(destinations: Sequence[Destination], erasure: Erasure) -> list[Sink]:
    """Remove the customer from whatever each destination keeps, and read back that it serves them no more."""
    return [_forget_at(destination, erasure) for destination in destinations if destination.enabled]


def _forget_at(destination: Destination, erasure: Erasure) -> Sink:
    name = f"destination:{destination.name}"
    if not destination.holds_customers:
        return Sink(name, "finished", {"holds_customers": False})
    try:
        store = open_store(destination)
        try:
            if store.position() is None:
                return Sink(name, "finished", {"rows_deleted": 0})
            gone = store.forget(erasure.customer_ids)
            wanted = set(erasure.customer_ids)
            left = sum(1 for rows in store.read_back() for customer_id, _ in rows if customer_id in wanted)
        finally:
            store.close()
    except StrataError as error:
        return Sink(name, "failed", {"error": error.what})
    return Sink(name, "failed" if left else "finished", {"rows_deleted": gone, "rows_left": left})


def forget_at_left(left: LeftPlace, erasure: Erasure) -> Sink:
    """Remove the customer from a place that a destination has left, where it can be reached without its password."""
    name = f"destination:{left.destination} at {left.url}"
    if not left.is_reachable:
        return Sink(name, "failed", {"error": left.fact, "repair": left.repair})
    try:
        store = SqlAlchemyStore(left.destination, left.url)
        try:
            return Sink(name, "finished", {"rows_deleted": store.forget(erasure.customer_ids)})
        finally:
            store.close()
    except StrataError as error:
        return Sink(name, "failed", {"error": error.what})


def forget_in_files(warehouse: Warehouse, folders: Sequence[Path]) -> Sink:
    """Write the warehouse anew, and delete logs and what the engine spilled.

    Args:
        warehouse: No connection may be open.
        folders: Where logs are, at any depth; a log tells the command that ran, and the command names the customer.
    """
    logs = [path for folder in folders for path in sorted(folder.rglob("*.log"))]
    spilled = [path for path in sorted(warehouse.temp_directory.rglob("*")) if path.is_file()]
    for path in (*logs, *spilled):
        path.unlink(missing_ok=True)
    size = warehouse.rewrite()
    return Sink("warehouse", "finished", {"bytes": size, "logs_deleted": len(logs)})


def look_at_landing(landing: Path, erasure: Erasure) -> Sink:
    """Say which landed files still hold the customer: they are their source's own, and loaded no more."""
    files = next((sink.detail.get("files", []) for sink in erasure.sinks if sink.name == "landing"), [])
    left = [path for path in files if (landing / str(path)).exists()] if isinstance(files, list) else []
    return Sink("landing", "partial" if left else "finished", {"files": left})
