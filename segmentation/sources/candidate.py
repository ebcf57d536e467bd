"""The sources' candidate: every new file of the landing folder, read, mapped, and judged row by row.

Belongs here: which files are new, and the order of the work. Does not belong here: how one file is read
(`reader.py`, `staging.py`), what the gate sees of it (`summary.py`) or making it readable for others (`publish.py`).
A file that can't be read as a whole is rejected with a message and stops no other file; the gate closes on it.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segmentation import contracts
from segmentation.errors import SourceError
from segmentation.run import Run, StageReport
from segmentation.sources.duplicates import drop_duplicates
from segmentation.sources.entities import ENTITIES
from segmentation.sources.failures import require_space
from segmentation.sources.feeds import EntityMapping, SourceMapping
from segmentation.sources.landing import (
    Finding,
    Fingerprint,
    Inventory,
    LandedFile,
    fingerprint,
    require_unchanged,
    take_inventory,
)
from segmentation.sources.reader import open_rows
from segmentation.sources.staging import Staged, require_columns, stage_rows, unstage_file
from segmentation.sources.summary import FileEntry, report, write_summary
from segmentation.sources.tables import create_drafts, ensure_entity_tables, promote_drafts
from segmentation.warehouse import Connection, transaction

STAGE = "sources"

LedgerKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Pending:
    """A file with content that was not loaded before, and the entities it is to fill."""

    file: LandedFile
    before: Fingerprint
    file_id: int
    mappings: tuple[EntityMapping, ...]

    def entries(self, status: str, message: str = "") -> list[FileEntry]:
        """One entry per entity, all with the same fate."""
        return [
            FileEntry(self.file, self.before, self.file_id, mapping, status=status, message=message)
            for mapping in self.mappings
        ]


def build_candidate(con: Connection, run: Run, *, landing: Path, mappings: tuple[SourceMapping, ...]) -> StageReport:
    """Read every new file of ``landing`` into the candidate tables.

    A file is new to an entity if the ledger holds no loaded file with its content read in the same way.

    Args:
        con: The warehouse, outside a transaction.
        run: The run.
        landing: Root of the landing folders.
        mappings: What `load_mappings` returned.

    Raises:
        SourceError: There is nothing to load and nothing was ever loaded.
        StrataError: The disk is full, or memory ran out; the last candidate and all published tables stand.
    """
    con.execute("set timezone = 'UTC'")
    with transaction(con):
        contracts.ensure_schema(con, STAGE)
        ensure_entity_tables(con)
    inventory = take_inventory(landing, mappings)
    findings = list(inventory.findings)
    loaded = loaded_files(con)
    if not inventory.files:
        findings.append(_empty_landing(landing, inventory, was_loaded=bool(loaded)))
    with transaction(con):
        create_drafts(con)
    entries = _stage_files(con, run, inventory.files, loaded)
    _settle_duplicates(con, entries)
    with transaction(con):
        promote_drafts(con)
        write_summary(con, run, entries, findings)
        candidate_id = contracts.stamp_candidate(con, STAGE, run)
    return report(con, candidate_id, entries, findings, files_seen=len(inventory.files))


def loaded_files(con: Connection) -> set[LedgerKey]:
    """Return content hash, mapping hash and entity of every file in the ledger that was loaded."""
    rows = con.execute("select sha256, mapping_hash, entity from sources.files where status = 'loaded'").fetchall()
    return {(str(row[0]), str(row[1]), str(row[2])) for row in rows}


def _empty_landing(landing: Path, inventory: Inventory, *, was_loaded: bool) -> Finding:
    unmapped = [finding.path for finding in inventory.findings if finding.kind == "unmapped_folder"]
    seen = f" (folders without a mapping: {', '.join(unmapped)})" if unmapped else ""
    if not was_loaded:
        raise SourceError(
            f"the landing folder holds no file that a mapping takes{seen}",
            where=str(landing),
            expected="<landing>/<folder of a feed>/*.csv, *.csv.gz, *.ndjson, *.jsonl or *.parquet",
            repair="strata sample, or put files there and map them in catalog/sources",
        )
    return Finding(
        "empty_landing",
        "",
        f"the landing folder holds no file that a mapping takes{seen}; what was loaded before stays",
        f"check that {landing} is the right folder and is mounted",
    )


def _stage_files(
    con: Connection, run: Run, files: Iterable[LandedFile], loaded: set[LedgerKey]
) -> dict[tuple[int, str], FileEntry]:
    entries: dict[tuple[int, str], FileEntry] = {}
    seen: dict[LedgerKey, str] = {}
    # Ids follow the order of paths, so the same files get the same ids wherever they are loaded.
    next_id = int(con.execute("select coalesce(max(file_id), 0) + 1 from sources.files").fetchall()[0][0])
    with tempfile.TemporaryDirectory(dir=_scratch_root(con), prefix="landing-") as scratch:
        for file in files:
            outcome = _stage_file(con, run, file, next_id, loaded, seen, Path(scratch))
            next_id += bool(outcome)
            entries.update({(entry.file_id, entry.mapping.entity): entry for entry in outcome})
    return entries


def _stage_file(
    con: Connection,
    run: Run,
    file: LandedFile,
    file_id: int,
    loaded: set[LedgerKey],
    seen: dict[LedgerKey, str],
    scratch: Path,
) -> list[FileEntry]:
    """Stage one file for every entity it is new to; nothing where it is new to none."""
    try:
        before = fingerprint(file.path)
    except SourceError as error:
        unknown = _Pending(file, Fingerprint("", 0, (0, 0, 0, 0)), file_id, file.feed.entities)
        return unknown.entries("rejected", error.message)
    keys = {
        mapping.entity: (before.sha256, file.feed.hash_of(mapping, file.source), mapping.entity)
        for mapping in file.feed.entities
    }
    new = tuple(mapping for mapping in file.feed.entities if keys[mapping.entity] not in loaded)
    repeated = tuple(mapping for mapping in new if keys[mapping.entity] in seen)
    pending = _Pending(file, before, file_id, tuple(mapping for mapping in new if mapping not in repeated))
    seen_as = {mapping.entity: seen[keys[mapping.entity]] for mapping in repeated}
    entries = [
        FileEntry(file, before, file_id, mapping, "repeated", f"same content as {seen_as[mapping.entity]}")
        for mapping in repeated
    ]
    if pending.mappings:
        entries += _read_file(con, run, pending, scratch)
        seen.update({keys[mapping.entity]: file.relative for mapping in pending.mappings})
    return entries


def _read_file(con: Connection, run: Run, pending: _Pending, scratch: Path) -> list[FileEntry]:
    staged: list[tuple[EntityMapping, Staged]] = []
    try:
        with open_rows(con, pending.file, scratch) as rows:
            absent = require_columns(pending.file, rows)
            for mapping in pending.mappings:
                done = stage_rows(con, run, file=pending.file, rows=rows, mapping=mapping, file_id=pending.file_id)
                staged.append((mapping, done))
        require_unchanged(pending.file.path, pending.before)
    except SourceError as error:
        unstage_file(con, pending.file, pending.file_id)
        return pending.entries("rejected", error.message)
    except OSError as error:
        require_space(error)
        raise
    note = f"no row has {', '.join(absent)}: read as null" if absent else ""
    return [
        FileEntry(pending.file, pending.before, pending.file_id, mapping, "staged", note, counts)
        for mapping, counts in staged
    ]


def _settle_duplicates(con: Connection, entries: dict[tuple[int, str], FileEntry]) -> None:
    for entity in ENTITIES.values():
        overlap = drop_duplicates(con, entity)
        for file_id, count in overlap.duplicate.items():
            entries[file_id, entity.name].duplicate = count
        for file_id, count in overlap.changed.items():
            entries[file_id, entity.name].changed = count


def _scratch_root(con: Connection) -> str:
    """Where copies of compressed files go: beside what the engine spills, where it may spill."""
    setting = str(con.execute("select current_setting('temp_directory')").fetchall()[0][0] or "")
    return setting if setting and Path(setting).is_dir() else tempfile.gettempdir()
