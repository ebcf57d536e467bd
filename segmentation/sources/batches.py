"""Files of one feed that are staged together: the engine writes a few large batches far cheaper than many small ones.

Belongs here: which files go together, and finding the one that spoils a batch. Does not belong here: which files are
new (`candidate.py`), reading one (`reader.py`) or writing its rows (`staging.py`). Where the files of a batch can't
be staged together each is staged by itself, so that a damaged file undoes itself alone.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from segmentation.errors import SourceError
from segmentation.run import Run
from segmentation.sources.failures import require_space
from segmentation.sources.feeds import EntityMapping
from segmentation.sources.landing import Fingerprint, LandedFile, require_unchanged
from segmentation.sources.reader import open_rows
from segmentation.sources.staging import OpenFile, Staged, require_columns, stage_rows, types_of, unstage_file
from segmentation.sources.summary import FileEntry
from segmentation.warehouse import Connection

#: Most files of a batch: each is a part of one statement.
_MOST_FILES = 64

#: Most bytes of a batch of text files: they lie in temporary tables until the batch is staged.
_MOST_BYTES = 128 * 1024 * 1024

#: How much larger the text of a compressed file is taken to be than the file.
_UNZIPPED = 10


@dataclass(frozen=True, slots=True)
class Pending:
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

    @property
    def text_bytes(self) -> int:
        """About how much text the file holds; none where it is read in place."""
        if self.file.format == "parquet":
            return 0
        return self.before.bytes * (_UNZIPPED if self.file.is_compressed else 1)


@dataclass(slots=True)
class Batch:
    """Files of one source, feed and format, that fill the same entities."""

    files: list[Pending] = field(default_factory=list)

    def takes(self, pending: Pending) -> bool:
        """Say whether a file may join."""
        if not self.files:
            return True
        first = self.files[0]
        size = sum(each.text_bytes for each in self.files) + pending.text_bytes
        is_alike = (first.file.source, first.file.feed, first.file.format, first.mappings) == (
            pending.file.source,
            pending.file.feed,
            pending.file.format,
            pending.mappings,
        )
        return is_alike and len(self.files) < _MOST_FILES and size <= _MOST_BYTES

    def add(self, pending: Pending) -> None:
        """Let a file join."""
        self.files.append(pending)


def stage_batch(con: Connection, run: Run, batch: Batch, scratch: Path) -> list[FileEntry]:
    """Read the files of a batch into the drafts; return what became of each, rejected files included.

    Raises:
        StrataError: The disk is full, or memory ran out; or rows were lost.
    """
    entries: list[FileEntry] = []
    whole: list[_Opened] = []
    try:
        with ExitStack() as stack:
            for pending in batch.files:
                try:
                    whole.append(_open(con, stack, pending, scratch))
                except SourceError as error:
                    entries += pending.entries("rejected", error.message)
            for _, alike in groupby(whole, key=lambda each: types_of(each.opened)):
                entries += _stage_alike(con, run, list(alike))
    except OSError as error:
        require_space(error)
        raise
    return entries


@dataclass(frozen=True, slots=True)
class _Opened:
    pending: Pending
    opened: OpenFile
    absent: tuple[str, ...]

    def entries(self, staged: dict[str, Staged]) -> list[FileEntry]:
        note = f"no row has {', '.join(self.absent)}: read as null" if self.absent else ""
        pending = self.pending
        return [
            FileEntry(pending.file, pending.before, pending.file_id, mapping, "staged", note, staged[mapping.entity])
            for mapping in pending.mappings
        ]


def _open(con: Connection, stack: ExitStack, pending: Pending, scratch: Path) -> _Opened:
    with ExitStack() as own:
        rows = own.enter_context(open_rows(con, pending.file, scratch, pending.file_id))
        absent = require_columns(pending.file, rows)
        stack.push(own.pop_all())
    return _Opened(pending, OpenFile(pending.file, pending.file_id, rows), absent)


def _stage_alike(con: Connection, run: Run, files: list[_Opened]) -> list[FileEntry]:
    """Stage files whose columns have the same types; one by one where they can't be staged together."""
    try:
        staged: dict[str, dict[int, Staged]] = {
            mapping.entity: stage_rows(con, run, [each.opened for each in files], mapping)
            for mapping in files[0].pending.mappings
        }
    except SourceError as error:
        for each in files:
            unstage_file(con, each.opened.file, each.opened.file_id)
        if len(files) == 1:
            return files[0].pending.entries("rejected", error.message)
        return [entry for each in files for entry in _stage_alike(con, run, [each])]
    entries: list[FileEntry] = []
    for each in files:
        try:
            require_unchanged(each.opened.file.path, each.pending.before)
        except SourceError as error:
            unstage_file(con, each.opened.file, each.opened.file_id)
            entries += each.pending.entries("rejected", error.message)
        else:
            entries += each.entries({entity: found[each.opened.file_id] for entity, found in staged.items()})
    return entries
