"""The sources' candidate: every new file of the landing folder, read, mapped, and judged row by row.

Belongs here: which files are new, and the order of the work. Does not belong here: how one file is read
(`batches.py`), what the gate sees of it (`summary.py`) or making it readable for others (`publish.py`).
A file that can't be read as a whole is rejected with a message and stops no other file; the gate closes on it.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from segmentation import contracts
from segmentation.errors import SourceError
from segmentation.run import Run, StageReport
from segmentation.sources.batches import Batch, Pending, stage_batch
from segmentation.sources.duplicates import drop_duplicates
from segmentation.sources.entities import ENTITIES
from segmentation.sources.feeds import SourceMapping
from segmentation.sources.landing import Finding, Fingerprint, Inventory, LandedFile, fingerprint, take_inventory
from segmentation.sources.summary import FileEntry, report, write_summary
from segmentation.sources.tables import create_drafts, ensure_entity_tables, promote_drafts
from segmentation.warehouse import Connection, transaction

STAGE = "sources"

LedgerKey = tuple[str, str, str]


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
    known = _Known(loaded)
    entries: list[FileEntry] = []
    # Ids follow the order of paths, so the same files get the same ids wherever they are loaded.
    next_id = int(con.execute("select coalesce(max(file_id), 0) + 1 from sources.files").fetchall()[0][0])
    with tempfile.TemporaryDirectory(dir=_scratch_root(con), prefix="landing-") as scratch:
        batch = Batch()
        for file in files:
            pending, settled = _look_at(file, next_id, known)
            next_id += bool(pending or settled)
            entries += settled
            if pending and not batch.takes(pending):
                entries += stage_batch(con, run, batch, Path(scratch))
                batch = Batch()
            if pending:
                batch.add(pending)
        entries += stage_batch(con, run, batch, Path(scratch))
    return {(entry.file_id, entry.mapping.entity): entry for entry in sorted(entries, key=_in_order)}


def _in_order(entry: FileEntry) -> tuple[int, int]:
    return entry.file_id, entry.file.feed.entities.index(entry.mapping)


@dataclass(slots=True)
class _Known:
    """Content that need not be read: what the ledger holds, and what an earlier file of this run brings."""

    loaded: set[LedgerKey]
    seen: dict[LedgerKey, str] = field(default_factory=dict)


def _look_at(file: LandedFile, file_id: int, known: _Known) -> tuple[Pending | None, list[FileEntry]]:
    """Return what is to be read of a file, and the entities for which its fate is settled without reading it."""
    try:
        before = fingerprint(file.path)
    except SourceError as error:
        unknown = Pending(file, Fingerprint("", 0, (0, 0, 0, 0)), file_id, file.feed.entities)
        return None, unknown.entries("rejected", error.message)
    settled, new = [], []
    for mapping in file.feed.entities:
        key = (before.sha256, file.feed.hash_of(mapping, file.source), mapping.entity)
        if key in known.loaded:
            continue
        if key in known.seen:
            message = f"same content as {known.seen[key]}"
            settled.append(FileEntry(file, before, file_id, mapping, "repeated", message))
        else:
            known.seen[key] = file.relative
            new.append(mapping)
    return Pending(file, before, file_id, tuple(new)) if new else None, settled


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
