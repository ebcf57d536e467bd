"""State that can't be made again from the sources: exported whole at every publish, and brought back.

Belongs here: how such tables are written to a folder and read from it, so that an export is there whole or not at all.
Does not belong here: which tables a stage needs (`identity/state.py`, `segments/state.py`).
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from segmentation.contracts import ensure_schema, void_candidate
from segmentation.errors import NotFoundError, StrataError
from segmentation.run import Run
from segmentation.warehouse import Connection, count, literal, table_exists, transaction

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class State:
    """What of one stage is kept outside the warehouse.

    Attributes:
        stage: The stage, and the schema of its tables.
        title: What messages call it.
        tables: The tables; together they are consistent because one publish wrote them. One is ``publications``,
            with ``publication_seq`` and ``run_id``: it says which exports the tables go on from.
        derived: Tables that follow from them and from the sources; restoring empties them, the next run fills them.
    """

    stage: str
    title: str
    tables: tuple[str, ...]
    derived: tuple[str, ...]

    def export(self, con: Connection, folder: Path, run: Run, *, keep: int) -> Path:
        """Write the tables to ``folder/<as_of>-<run>/<table>.parquet``; all of it appears at once.

        Args:
            con: The warehouse, after publishing.
            folder: Where exports are collected; made where it is missing.
            run: Names the export; exporting the same run again replaces its export.
            keep: How many exports remain, the newest by time of recording; beside them those that the tables do not
                go on from, such as those of a warehouse that was lost: nothing else holds what they hold.

        Returns:
            The export's folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{run.as_of:%Y%m%dT%H%M%S}-{_safe(run.run_id)}"
        draft = folder / f".{name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        rows = {}
        for table in self.tables:
            target = draft / f"{table}.parquet"
            source = f"{self.stage}.{table}"
            con.execute(f"copy {source} to {literal(str(target))} (format parquet, compression zstd)")
            _flush(target)
            rows[table] = count(con, source)
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
        for old in [export for export in list_exports(folder) if self._is_past(con, export)][keep:]:
            shutil.rmtree(old)
        return final

    def _is_past(self, con: Connection, export: Path) -> bool:
        """Say whether what the export held last was published here too, so that the tables go on from it."""
        held = literal(str(export / "publications.parquet"))
        try:
            found = con.execute(
                f"select 1 from (from read_parquet({held}) order by publication_seq desc limit 1) as last "
                f"anti join {self.stage}.publications as known using (run_id)"
            ).fetchall()
        except duckdb.Error:
            # A damaged export, or one of a version without publications: nothing says that it may go.
            return False
        return not found

    def restore(self, con: Connection, folder: Path, check: Callable[[], None] | None = None) -> dict[str, int]:
        """Bring the tables back from an export.

        Args:
            con: The warehouse, open for writing.
            folder: One export, or a folder of exports: then the newest.
            check: Looks at what was brought back; where it raises, nothing was changed.

        Returns:
            Rows per table. Run the stage afterwards: the tables that follow from the state are empty, and until then
            its gate lets no later stage start.

        Raises:
            NotFoundError: There is no whole export.
            StrataError: The export does not hold what its manifest says; nothing was changed.
        """
        export = folder if (folder / MANIFEST).exists() else next(iter(list_exports(folder)), None)
        if export is None:
            raise NotFoundError(
                f"there is no export of {self.title} to restore",
                where=str(folder),
                expected=f"a folder with {MANIFEST}",
                repair="name the folder of an export",
            )
        expected = _manifest(export)["rows"]
        ensure_schema(con, self.stage)
        rows: dict[str, int] = {}
        try:
            with transaction(con):
                for table in self.tables:
                    con.execute(f"delete from {self.stage}.{table}")
                    # An export of a version that had no such table says that it was empty: what it held since is void.
                    if table in expected:
                        source = literal(str(export / f"{table}.parquet"))
                        con.execute(f"insert into {self.stage}.{table} by name select * from read_parquet({source})")
                        rows[table] = count(con, f"{self.stage}.{table}")
                for table in self.derived:
                    if table_exists(con, self.stage, table):
                        con.execute(f"delete from {self.stage}.{table}")
                if rows != expected:
                    raise self._damaged(export, f"rows as in its manifest: {expected}, found {rows}")
                if check:
                    check()
                # The gate spoke of other tables; most of all of those that are empty now, who allows what among them.
                void_candidate(con, self.stage)
        except duckdb.Error as error:
            raise self._damaged(export, f"readable Parquet files ({str(error).splitlines()[0]})") from error
        return rows

    def _damaged(self, export: Path, expected: str) -> StrataError:
        return StrataError(
            f"the export of {self.title} is damaged",
            where=str(export),
            expected=expected,
            repair="restore an older export",
        )


def list_exports(folder: Path) -> list[Path]:
    """Return the whole exports in ``folder``, the newest (by time of recording) first."""
    found = [path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith(".")]
    return sorted(found, key=lambda path: (_manifest(path)["recorded_at"], path.name), reverse=True)


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
