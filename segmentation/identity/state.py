"""The state that can't be made again from the sources: exported at every publish, and brought back.

Belongs here: the tables whose loss would change customer ids or their history. Does not belong here:
tables that the next run makes anew (edges, lookup, consents, profiles).
"""

import json
import os
import shutil
from pathlib import Path

import duckdb

from segmentation.contracts import ensure_schema
from segmentation.errors import NotFoundError, StrataError
from segmentation.run import Run
from segmentation.warehouse import Connection, count, literal, transaction

#: Tables of the state; together they are consistent because one publish wrote them.
STATE_TABLES = (
    "registry",
    "identifiers",
    "customers",
    "identifier_map",
    "identifier_map_history",
    "customer_aliases",
    "events",
    "rules",
    "publications",
    "acknowledgements",
    "suppressions",
    "match_labels",
    "match_samples",
)

#: Tables that follow from the state and the sources; restoring empties them, the next run fills them.
_DERIVED_TABLES = (
    "normalised_values",
    "normalisation",
    "sightings",
    "sighting_kinds",
    "readings",
    "edges",
    "solve_inputs",
    "identifier_lookup",
    "customer_accounts",
    "customer_consents",
    "profiles",
    "profile_conflicts",
    "match_records",
    "match_basis",
    "match_candidates",
)

MANIFEST = "manifest.json"


def export_state(con: Connection, folder: Path, run: Run, *, keep: int = 5) -> Path:
    """Write the published state to ``folder/<as_of>-<run>/<table>.parquet``; all of it appears at once.

    Args:
        con: The warehouse, after publishing.
        folder: Where exports are collected; made where it is missing.
        run: Names the export; exporting the same run again replaces its export.
        keep: How many exports remain, the newest by time of recording.

    Returns:
        The export's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{run.as_of:%Y%m%dT%H%M%S}-{_safe(run.run_id)}"
    draft = folder / f".{name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    rows = {}
    for table in STATE_TABLES:
        target = draft / f"{table}.parquet"
        con.execute(f"copy identity.{table} to {literal(str(target))} (format parquet, compression zstd)")
        _flush(target)
        rows[table] = count(con, f"identity.{table}")
    manifest = {"run_id": run.run_id, "as_of": f"{run.as_of}", "recorded_at": f"{run.recorded_at}", "rows": rows}
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    _flush(draft / MANIFEST)
    final = folder / name
    if final.exists():
        # A finished export is moved aside first: at no moment is there none of this run that is whole.
        aside = folder / f".{name}.old"
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
        draft.rename(final)
        shutil.rmtree(aside)
    else:
        draft.rename(final)
    for old in list_exports(folder)[keep:]:
        shutil.rmtree(old)
    return final


def list_exports(folder: Path) -> list[Path]:
    """Return the whole exports in ``folder``, the newest (by time of recording) first."""
    found = [path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda path: (_manifest(path)["recorded_at"], path.name), reverse=True)


def restore_state(con: Connection, folder: Path) -> dict[str, int]:
    """Bring the state back from an export, in one transaction.

    Args:
        con: The warehouse, open for writing.
        folder: One export, or a folder of exports: then the newest.

    Returns:
        Rows per table. Run the stage afterwards: the tables that follow from the state are empty.

    Raises:
        NotFoundError: There is no whole export.
        StrataError: The export does not hold what its manifest says; nothing was changed.
    """
    export = folder if (folder / MANIFEST).exists() else next(iter(list_exports(folder)), None)
    if export is None:
        raise NotFoundError(
            "there is no export of the identity state to restore",
            where=str(folder),
            expected=f"a folder with {MANIFEST}",
            repair="name the folder of an export",
        )
    expected = _manifest(export)["rows"]
    ensure_schema(con, "identity")
    rows: dict[str, int] = {}
    try:
        with transaction(con):
            for table in STATE_TABLES:
                con.execute(f"delete from identity.{table}")
                # An export of a version that had no such table says that it was empty: node ids given since are void.
                if table in expected:
                    source = literal(str(export / f"{table}.parquet"))
                    con.execute(f"insert into identity.{table} by name select * from read_parquet({source})")
                    rows[table] = count(con, f"identity.{table}")
            for table in _DERIVED_TABLES:
                con.execute(f"delete from identity.{table}")
            if rows != expected:
                raise _damaged(export, f"rows as in its manifest: {expected}, found {rows}")
    except duckdb.Error as error:
        raise _damaged(export, f"readable Parquet files ({str(error).splitlines()[0]})") from error
    return rows


def _damaged(export: Path, expected: str) -> StrataError:
    return StrataError(
        "the export of the identity state is damaged",
        where=str(export),
        expected=expected,
        repair="restore an older export",
    )


def _manifest(export: Path) -> dict[str, dict[str, int]]:
    content: dict[str, dict[str, int]] = json.loads((export / MANIFEST).read_text(encoding="utf-8"))
    return content


def _safe(run_id: str) -> str:
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in run_id)[:80]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
