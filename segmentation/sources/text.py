"""Text files as the engine can read them: plain UTF-8 on disk.

Belongs here: gzip with its checksum, other encodings, line ends, the header, blank lines. Does not belong here: rows
and columns (`reader.py`). Everything goes through in chunks; a copy is made only where the file as it lies is not plain
UTF-8 whose lines end with a line feed. In a file whose lines end otherwise, line ends within values become line feeds
too: the engine miscounts rows where a block ends between the two bytes of a line end.
"""

import codecs
import csv
import io
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from segmentation.errors import SourceError
from segmentation.sources.landing import unreadable

_CHUNK = 4 * 1024 * 1024
_GZIP_WINDOW = 31
_BLANK_LINE = re.compile(rb"(?<=\n)\r?\n")
_LINE_END = 2
#: First bytes of files that are no text: what they are, and what to do.
_NO_TEXT = {
    b"\x1f\x8b": ("gzip", "let its name end in .gz"),
    b"PAR1": ("Parquet", "let its name end in .parquet"),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "deliver what is in it, as CSV"),
}
_UTF8 = frozenset({"utf-8", "ascii", "utf-8-sig"})
_PEEKED_LINES = 100
#: Longest header that is looked at, in bytes.
_MAX_HEADER = 1024 * 1024


@dataclass(slots=True)
class TextFile:
    """A plain UTF-8 file with the content of a landed one.

    Attributes:
        path: The file to read; the landed one itself where it is plain UTF-8.
        scratch: Folder for further copies; it goes when the file is closed.
    """

    path: Path
    scratch: Path

    def with_plain_line_ends(self) -> Path:
        """Return a copy in which every line ends with a line feed alone."""
        self.path = _write(_with_plain_line_ends(_chunks(self.path)), self.scratch / "plain_line_ends")
        return self.path

    def first_keys(self) -> list[str]:
        """Return the keys of the JSON objects on the first lines, in order of appearance."""
        keys: dict[str, None] = {}
        with self.path.open("rb") as file:
            for line in islice(file, _PEEKED_LINES):
                with suppress(ValueError):
                    found = json.loads(line)
                    keys.update(dict.fromkeys(found) if isinstance(found, dict) else {})
        return list(keys)

    def blank_runs(self) -> list[tuple[int, int]]:
        """Return runs of blank lines: where each begins, in bytes, and how many blank lines there are up to its end."""
        offsets: list[int] = []
        position = 0
        previous = b""
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                window = previous + chunk
                start = position - len(previous)
                offsets += [start + found.start() for found in _BLANK_LINE.finditer(window)]
                position += len(chunk)
                previous = window[-2:]
        runs: list[tuple[int, int]] = []
        end = -1
        for number, offset in enumerate(sorted(set(offsets)), start=1):
            # Two bytes apart at most: a line end is one byte or two.
            is_joined = runs and offset - end <= _LINE_END
            runs[-1 if is_joined else len(runs) :] = [(runs[-1][0] if is_joined else offset, number)]
            end = offset
        return runs


@contextmanager
def open_text(path: Path, encoding: str, *, is_compressed: bool, scratch: Path) -> Iterator[TextFile]:
    """Open a landed text file as plain UTF-8.

    Raises:
        SourceError: It is not gzip, not whole, or not in ``encoding``; or the system does not give it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="source-") as folder:
        try:
            yield _as_plain(path, encoding, is_compressed, Path(folder))
        except UnicodeDecodeError as error:
            raise SourceError(
                f"the file is not in {encoding}: {error.reason} at byte {error.start}",
                where=str(path),
                expected=f"text in {encoding}",
                repair="set encoding: in the feed's mapping, or deliver the file in this encoding",
            ) from error
        except OSError as error:
            if error.errno is not None and error.filename is not None and Path(error.filename) == path:
                raise unreadable(path, error) from error
            raise


def _as_plain(path: Path, encoding: str, is_compressed: bool, folder: Path) -> TextFile:
    name = codecs.lookup(encoding).name
    with path.open("rb") as file:
        beginning = file.read(4)
    _require_text(path, beginning, is_compressed=is_compressed)
    is_marked = not is_compressed and beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if is_marked and not name.startswith("utf-16"):
        raise SourceError(
            f"the file is in UTF-16, not in {encoding}",
            where=str(path),
            expected=f"text in {encoding}",
            repair="set encoding: utf-16 in the feed's mapping",
        )
    chunks = unzip(path) if is_compressed else _chunks(path)
    if name not in _UTF8:
        chunks = _transcode(chunks, encoding)
    first = next(chunks, b"")
    has_returns = b"\r" in first and not re.search(rb"(?<!\r)\n", first[: first.find(b"\n") + 1])
    if not is_compressed and name in _UTF8 and not has_returns:
        return TextFile(path, folder)
    chunks = chain((first,), chunks)
    if has_returns:
        chunks = _with_plain_line_ends(chunks)
    return TextFile(_write(chunks, folder / "plain"), folder)


def _require_text(path: Path, beginning: bytes, *, is_compressed: bool) -> None:
    """Refuse what is known by its first bytes to be something else, under the ending of a text file."""
    kind, repair = next((told for sign, told in _NO_TEXT.items() if beginning.startswith(sign)), ("", ""))
    if kind and not is_compressed:
        raise SourceError(f"the file is {kind}, not text", where=str(path), expected="a text file", repair=repair)


def _write(chunks: Iterator[bytes], path: Path) -> Path:
    with path.open("wb") as target:
        for chunk in chunks:
            target.write(chunk)
    return path


def _with_plain_line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in chunks:
        chunk = held + piece
        # A carriage return at the end may be half of a pair.
        held = b"\r" if chunk.endswith(b"\r") else b""
        yield chunk[: len(chunk) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _transcode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done = 0
    for chunk in chunks:
        try:
            yield decoder.decode(chunk).encode("utf-8")
        except UnicodeDecodeError as error:
            raise UnicodeDecodeError(error.encoding, b"", done + error.start, done + error.end, error.reason) from error
        done += len(chunk)
    yield decoder.decode(b"", final=True).encode("utf-8")


def unzip(path: Path) -> Iterator[bytes]:
    """Decompress gzip, member by member, and check every checksum: the engine checks none."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for chunk in _chunks(path):
            rest = chunk
            while rest:
                if inflater.eof:
                    inflater = zlib.decompressobj(_GZIP_WINDOW)
                # Bounded, because a few bytes may stand for very many.
                yield inflater.decompress(rest, _CHUNK)
                # Zero bytes after the last member are padding.
                rest = inflater.unused_data.lstrip(b"\0") if inflater.eof else inflater.unconsumed_tail
    except zlib.error as error:
        raise _bad_gzip(path, f"the gzip data is damaged ({error})") from error
    if not inflater.eof:
        raise _bad_gzip(path, "the gzip data ends before its end: the file is cut off")


def _bad_gzip(path: Path, what: str) -> SourceError:
    return SourceError(what, where=str(path), expected="a whole gzip file", repair="deliver the file again, whole")


def read_header(path: Path, landed: Path, delimiter: str) -> list[str]:
    """Return the names in the first record of a plain UTF-8 CSV file.

    Raises:
        SourceError: There is no header, it has no end, or it is not text.
    """
    with path.open("rb") as file:
        beginning = file.read(_MAX_HEADER)
    try:
        text = beginning.decode("utf-8-sig", errors="strict" if len(beginning) < _MAX_HEADER else "ignore")
    except UnicodeDecodeError:
        # A later row may hold the bad bytes: the rows are judged one by one, only the header must be whole.
        text = beginning.decode("utf-8-sig", errors="replace")
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise _bad_header(landed, f"the header can't be read: {error}") from error
    if not text:
        raise _bad_header(landed, "the file is empty")
    if not names:
        raise _bad_header(landed, "the file begins with a blank line where the header should be")
    if any("\ufffd" in name or "\0" in name for name in names):
        raise _bad_header(landed, "the header holds bytes that are not text in the file's encoding")
    return names


def _bad_header(landed: Path, what: str) -> SourceError:
    return SourceError(
        what,
        where=str(landed),
        expected="a first line with the names of the columns",
        repair="deliver the file with a header; set encoding: or delimiter: in the mapping if they differ",
    )
