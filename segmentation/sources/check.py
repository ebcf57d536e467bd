"""What would happen to one file, without touching the warehouse.

Belongs here: finding the feed of a file and trying it in a warehouse of its own that is thrown away. Does not
belong here: reading and staging themselves (`reader.py`, `staging.py`), which are the ones a run uses, so that the
answer is what a run would do.
"""

import os
import tempfile
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path

import duckdb

from segmentation import contracts
from segmentation.errors import NotFoundError, SourceError
from segmentation.run import Run
from segmentation.sources.candidate import LedgerKey
from segmentation.sources.duplicates import drop_duplicates
from segmentation.sources.feeds import EntityMapping, SourceMapping
from segmentation.sources.landing import LandedFile, find_link, fingerprint, format_of, require_plain_file
from segmentation.sources.reader import open_rows, peek_columns
from segmentation.sources.rows import FileRows
from segmentation.sources.staging import OpenFile, missing_columns, require_columns, stage_rows
from segmentation.sources.tables import DRAFT_QUARANTINE, create_drafts, ensure_entity_tables
from segmentation.warehouse import Connection

#: The trial's clock; nothing that a trial says depends on it.
_TRIAL = Run("check-source", datetime(1970, 1, 1), datetime(1970, 1, 1))  # noqa: DTZ001 - tables hold naive UTC

#: SQL for a reason without the value it shows, to count reasons of one kind.
_REASON_KIND = "regexp_replace(reason, '''.*?'' is not ', '… is not ', 'gs')"

#: Least share of a feed's columns that a file must have to be taken for one of its files.
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A row that would go to quarantine."""

    line: int
    reason_code: str
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class EntityCheck:
    """What would happen to the file's rows for one entity.

    Attributes:
        is_loaded: The ledger holds this content, read this way: the file would be passed over.
        rows_folded: Rows that one_row_per folds into an earlier row of the same file.
        rows_duplicate: Rows that repeat an earlier row of the same file, folded ones not counted.
        quarantined: The first rows that would go to quarantine, by line.
        reasons: Rows by reason, most frequent first.
    """

    entity: str
    is_loaded: bool
    rows_read: int
    rows_loaded: int
    rows_folded: int
    rows_duplicate: int
    rows_quarantined: int
    quarantined: tuple[QuarantinedRow, ...]
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What would happen to a file.

    Attributes:
        feed: ``source/folder`` of the feed that takes it, empty where none does.
        also_fits: Other feeds whose columns the file has as well.
        problem: Why the whole file would be rejected, as facts; ``None`` where it would not.
    """

    path: str
    sha256: str
    bytes: int
    format: str
    feed: str
    also_fits: tuple[str, ...]
    columns_found: tuple[str, ...]
    columns_missing: tuple[str, ...]
    columns_unused: tuple[str, ...]
    entities: tuple[EntityCheck, ...] = ()
    problem: dict[str, str] | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether a run would load the file, bad rows aside."""
        return self.problem is None

    def as_dict(self) -> dict[str, object]:
        """The check as JSON-ready facts."""
        return {"is_accepted": self.is_accepted, **asdict(self)}


@dataclass(slots=True)
class _Columns:
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    entities: list[EntityCheck] = field(default_factory=list)


def check_file(
    path: Path,
    mappings: tuple[SourceMapping, ...],
    *,
    landing: Path | None = None,
    feed: str = "",
    ledger: AbstractSet[LedgerKey] = frozenset(),
    sample: int = 10,
) -> FileCheck:
    """Say what a run would do with a file.

    Args:
        path: The file, anywhere.
        mappings: What `load_mappings` returned.
        landing: Landing root; a file below it is taken by the feed of its folder.
        feed: ``folder``, ``source`` or ``source/folder`` to try; by default the folder decides, else the columns.
        ledger: What `candidate.loaded_files` returned, to say whether the file was loaded before.
        sample: How many quarantined rows to show per entity.

    Raises:
        NotFoundError: There is no such file or feed.
        SourceError: No feed takes the file, or it is a link, a pipe or a device.
    """
    relative = _place_below(landing, path)
    link = find_link(landing, relative) if landing is not None and relative is not None else None
    if link is None and not os.path.lexists(path):
        raise NotFoundError(
            "there is no such file", where=str(path), expected="a file", repair="strata check-source FILE"
        )
    require_plain_file(link or path)
    with tempfile.TemporaryDirectory(prefix="check-source-") as folder:
        scratch = Path(folder)
        with duckdb.connect(str(scratch / "trial.duckdb")) as con:
            con.execute("set timezone = 'UTC'")
            con.execute("set preserve_insertion_order = false")
            con.execute("set enable_progress_bar = false")
            file, also_fits = _find_feed(con, path, mappings, relative, feed, scratch)
            return _try_file(con, file, also_fits, ledger, sample, scratch)


def _place_below(landing: Path | None, path: Path) -> Path | None:
    """Return where below the landing root a file lies as it is named, links not followed; ``None`` elsewhere."""
    if landing is None:
        return None
    # Not resolved: that would follow the links that are looked for.
    named, root = Path(os.path.abspath(path)), landing.resolve()  # noqa: PTH100 - resolves no link
    return next((named.relative_to(folder) for folder in named.parents if folder.resolve() == root), None)


def _try_file(
    con: Connection,
    file: LandedFile,
    also_fits: tuple[str, ...],
    ledger: AbstractSet[LedgerKey],
    sample: int,
    scratch: Path,
) -> FileCheck:
    contracts.ensure_schema(con, "sources")
    ensure_entity_tables(con)
    create_drafts(con)
    columns = _Columns()
    problem: dict[str, str] | None = None
    before = fingerprint(file.path)
    try:
        with open_rows(con, file, scratch) as rows:
            _note_columns(columns, file, rows)
            require_columns(file, rows)
            for mapping in file.feed.entities:
                is_loaded = (before.sha256, file.feed.hash_of(mapping, file.source), mapping.entity) in ledger
                columns.entities.append(_try_entity(con, file, rows, mapping, sample, is_loaded=is_loaded))
    except SourceError as error:
        problem = error.as_dict()
        columns.entities.clear()
    return FileCheck(
        path=str(file.path),
        sha256=before.sha256,
        bytes=before.bytes,
        format=file.format,
        feed=f"{file.source}/{file.feed.folder}",
        also_fits=also_fits,
        columns_found=columns.found,
        columns_missing=columns.missing,
        columns_unused=columns.unused,
        entities=tuple(columns.entities),
        problem=problem,
    )


def _note_columns(columns: _Columns, file: LandedFile, rows: FileRows) -> None:
    read = {name.lower() for name in file.feed.reads}
    columns.found = tuple(name for name in rows.columns if name.lower() in read)
    columns.unused = tuple(name for name in rows.columns if name.lower() not in read)
    columns.missing = tuple(missing_columns(file.feed, rows))


def _try_entity(
    con: Connection, file: LandedFile, rows: FileRows, mapping: EntityMapping, sample: int, *, is_loaded: bool
) -> EntityCheck:
    staged = stage_rows(con, _TRIAL, [OpenFile(file, 1, rows)], mapping, for_trial=True)[1]
    duplicate = sum(drop_duplicates(con, mapping.canonical).duplicate.values())
    shown = con.execute(
        f"select line, reason_code, reason, cast(raw as varchar) from {DRAFT_QUARANTINE} "
        "where entity = ? order by line limit ?",
        [mapping.entity, sample],
    ).fetchall()
    reasons = con.execute(
        f"select {_REASON_KIND} as kind, count(*) as n from {DRAFT_QUARANTINE} "
        "where entity = ? group by kind order by n desc, kind limit ?",
        [mapping.entity, sample],
    ).fetchall()
    return EntityCheck(
        entity=mapping.entity,
        is_loaded=is_loaded,
        rows_read=staged.read,
        rows_loaded=staged.written - duplicate,
        rows_folded=staged.folded,
        rows_duplicate=duplicate,
        rows_quarantined=staged.quarantined,
        quarantined=tuple(QuarantinedRow(int(line), *map(str, texts)) for line, *texts in shown),
        reasons={str(kind): int(count) for kind, count in reasons},
    )


def _find_feed(
    con: Connection,
    path: Path,
    mappings: tuple[SourceMapping, ...],
    relative: Path | None,
    wanted: str,
    scratch: Path,
) -> tuple[LandedFile, tuple[str, ...]]:
    """Return the file as its feed takes it, and the names of other feeds that it fits as well."""
    offers = _offers(path, mappings)
    if wanted:
        offers = [offer for offer in offers if wanted in _names_of(offer)]
        if not offers:
            known = sorted(f"{mapping.source}/{feed.folder}" for mapping in mappings for feed in mapping.feeds)
            raise NotFoundError(
                f"no feed {wanted!r} takes a file named {path.name}",
                where="catalog/sources",
                expected=f"one of {', '.join(known)}",
                repair="correct the name of the feed, or the file's ending",
            )
    elif relative is not None:
        folder = relative.parent.as_posix()
        below = [offer for offer in offers if offer.feed.folder == folder and fnmatch(path.name, offer.feed.pattern)]
        if below:
            return below[0], tuple(map(_name_of, below[1:]))
    return _best_fit(con, path, offers, scratch)


def _offers(path: Path, mappings: tuple[SourceMapping, ...]) -> list[LandedFile]:
    return [
        LandedFile(path, path.name, mapping.source, feed, kind)
        for mapping in mappings
        for feed in mapping.feeds
        if (kind := format_of(path, feed)) is not None
    ]


def _best_fit(
    con: Connection, path: Path, offers: list[LandedFile], scratch: Path
) -> tuple[LandedFile, tuple[str, ...]]:
    """Take the feed of whose columns the file has the greatest share, then the one that reads most."""
    shares = []
    trouble: SourceError | None = None
    for offer in offers:
        try:
            present = {name.lower() for name in peek_columns(con, offer, scratch)}
        except SourceError as error:
            # Another feed may read the file in another encoding; where none can, this says why.
            trouble, present = error, set()
        reads = offer.feed.reads
        shares.append((sum(name.lower() in present for name in reads) / max(len(reads), 1), len(reads), offer))
    shares.sort(key=lambda item: (-item[0], -item[1], _name_of(item[2])))
    if len(offers) == 1:
        return offers[0], ()
    if trouble and shares[0][0] == 0:
        raise trouble
    if not shares or shares[0][0] < _LEAST_SHARE:
        raise SourceError(
            f"no feed takes the file{f'; the nearest is {_name_of(shares[0][2])}' if shares else ''}",
            where=str(path),
            expected="a file in the folder of a feed, or with at least half of a feed's columns",
            repair="strata check-source FILE --feed SOURCE/FOLDER, or map the file in catalog/sources",
        )
    also = tuple(_name_of(offer) for share, _, offer in shares[1:] if share == 1)
    return shares[0][2], also


def _name_of(offer: LandedFile) -> str:
    return f"{offer.source}/{offer.feed.folder}"


def _names_of(offer: LandedFile) -> set[str]:
    return {offer.source, offer.feed.folder, _name_of(offer)}
