"""The landing folder: which files lie there, what they contain by hash, whether they stand still.

Belongs here: finding files, hashing them, noticing that one changed while it was read. Does not belong here:
what is inside a file (`reader.py`) or whether it was loaded before (`candidate.py`). Files whose names begin
with a dot or an underscore are still being written and are left alone. What is no plain file, or lies behind a
symbolic link, is listed like a file and refused when it is looked at: a link could lead a run to any file of the
machine, and a pipe or a device has no end and no second reading.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from segmentation.errors import SourceError
from segmentation.sources.feeds import FeedMapping, Format, SourceMapping

_FORMATS: dict[str, Format] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}

#: File name endings that a feed without a format of its own takes.
EXTENSIONS = (".csv", ".csv.gz", ".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the landing folder that a person should know; it stops nothing.

    Attributes:
        kind: ``unmapped_folder``, ``ignored_file`` or ``empty_landing``.
        path: Path below the landing root.
    """

    kind: str
    path: str
    message: str
    repair: str


@dataclass(frozen=True, slots=True)
class LandedFile:
    """A file that a feed takes: where it is and how it is read."""

    path: Path
    relative: str
    source: str
    feed: FeedMapping
    format: Format

    @property
    def is_compressed(self) -> bool:
        """Whether the file is gzip."""
        return self.path.suffix.lower() == ".gz"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file was when it was looked at; two equal ones mean that it stood still between."""

    sha256: str
    bytes: int
    stamp: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What lies in the landing folder: files by path, and what no feed takes."""

    files: tuple[LandedFile, ...]
    findings: tuple[Finding, ...]


def format_of(path: Path, feed: FeedMapping) -> Format | None:
    """Return how ``path`` is read in ``feed``: the feed's format, else by ending, else ``None``."""
    if feed.format is not None:
        return feed.format
    suffix = path.suffix.lower()
    if suffix == ".gz":
        inner = _FORMATS.get(Path(path.stem).suffix.lower())
        return inner if inner != "parquet" else None
    return _FORMATS.get(suffix)


def take_inventory(landing: Path, mappings: tuple[SourceMapping, ...]) -> Inventory:
    """List the files that feeds take, in order of path, and everything that no feed takes.

    A file belongs to every source whose feed has its folder, pattern and ending; within a source the first such
    feed takes it. A link in place of a feed's folder is listed itself, and nothing behind it.
    """
    files: list[LandedFile] = []
    taken: set[Path] = set()
    for mapping in mappings:
        claimed: set[Path] = set()
        for feed in mapping.feeds:
            link = find_link(landing, feed.folder)
            for path in _visible_files(landing / feed.folder) if link is None else [link]:
                kind = format_of(path, feed)
                if path in claimed or ((kind is None or not fnmatch(path.name, feed.pattern)) and path != link):
                    continue
                claimed.add(path)
                # A link in place of the folder is never read, so any format does.
                kind = kind or "csv"
                relative = _named(path.relative_to(landing).as_posix())
                files.append(LandedFile(path, relative, mapping.source, feed, kind))
        taken |= claimed
    files.sort(key=lambda file: (file.relative, file.source))
    return Inventory(tuple(files), tuple(_find_leftovers(landing, mappings, taken)))


def find_link(landing: Path, relative: str | Path) -> Path | None:
    """Return the first symbolic link on the way from the landing root to ``relative``; the root itself may be one."""
    path = landing
    for part in Path(relative).parts:
        path /= part
        if path.is_symlink():
            return path
    return None


def fingerprint(path: Path) -> Fingerprint:
    """Hash a file as a stream.

    Raises:
        SourceError: It is gone, may not be read, or is a link, a pipe or a device.
    """
    require_plain_file(path)
    try:
        # Refused by the system as well, in case a link took the file's place just now.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    return Fingerprint(digest, stamp[1], stamp)


def require_unchanged(path: Path, before: Fingerprint) -> None:
    """Check that a file is still what it was before it was read.

    Size, both times and the inode decide; only where one differs is the content hashed again.

    Raises:
        SourceError: It changed, or is gone.
    """
    try:
        unchanged = _stamp(path.lstat()) == before.stamp
    except OSError as error:
        raise unreadable(path, error) from error
    if not unchanged and fingerprint(path).sha256 != before.sha256:
        raise SourceError(
            "the file changed while it was read",
            where=str(path),
            expected="a file that stands still: write it under a name that begins with '_', then rename it",
            repair="wait until the file is complete, then run again",
        )


def _named(path: str) -> str:
    """Return a path as text: bytes that are not UTF-8, which no table takes, are written as escapes."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def require_plain_file(path: Path) -> None:
    """Check that ``path`` itself is a file, its name text: no link, pipe, socket, device or folder.

    Raises:
        SourceError: It is none, or is gone.
    """
    if _named(str(path)) != str(path):
        raise SourceError(
            "the file's name, or its folder's, is not UTF-8 text",
            where=_named(str(path)),
            expected="names in UTF-8",
            repair="rename it",
        )
    try:
        kind = stat.S_IFMT(path.lstat().st_mode)
    except OSError as error:
        raise unreadable(path, error) from error
    if kind != stat.S_IFREG:
        raise SourceError(
            f"{path.name} is {_KINDS.get(kind, 'a device')}, not a file: nothing is read through it",
            where=str(path),
            expected="plain files in plain folders below the landing root",
            repair="put a copy of the file in its place, or take it out; a folder from elsewhere can be mounted there",
        )


def unreadable(path: Path, error: OSError) -> SourceError:
    """Say why the operating system does not give a file's content."""
    if isinstance(error, FileNotFoundError):
        what, repair = "the file vanished before it was read", "put the file back, then run again"
    elif isinstance(error, PermissionError):
        what, repair = "the file may not be read", f"chmod a+r {path}"
    else:
        what, repair = f"the file can't be read: {error.strerror or error}", "check the disk, then run again"
    return SourceError(what, where=str(path), expected="a readable file", repair=repair)


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _visible_files(folder: Path) -> list[Path]:
    """Everything in a folder that is no folder: files, and what is neither and will be refused."""
    return [path for path in _visible(folder) if path.is_symlink() or not path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    except OSError as error:
        raise SourceError(
            f"the folder can't be listed: {error.strerror or error}",
            where=_named(str(folder)),
            expected="a folder whose files can be listed and read",
            repair=f"chmod a+rx {_named(str(folder))}, or check the disk; then run again",
        ) from error


def _find_leftovers(landing: Path, mappings: tuple[SourceMapping, ...], taken: set[Path]) -> list[Finding]:
    folders = {feed.folder for mapping in mappings for feed in mapping.feeds}
    tops = {folder.split("/", 1)[0] for folder in folders}
    findings = [
        Finding(
            "unmapped_folder",
            name := _named(child.name),
            f"no mapping takes the folder {name}",
            f"add a feed with folder: {name} to catalog/sources, or remove the folder",
        )
        for child in _visible(landing)
        if child.is_dir() and child.name not in tops
    ]
    findings += [
        Finding(
            "ignored_file",
            name := _named(child.name),
            f"the file {name} lies in no feed's folder",
            "put it into the folder of the feed that is to read it, or remove it",
        )
        for child in _visible(landing)
        if not child.is_dir() and child not in taken
    ]
    for folder in sorted(folders):
        findings += [
            Finding(
                "ignored_file",
                _named(path.relative_to(landing).as_posix()),
                f"no feed of the folder {folder} takes the file {_named(path.name)}",
                f"name it *{', *'.join(EXTENSIONS)} so that the feed's pattern matches, or remove it",
            )
            for path in (_visible_files(landing / folder) if find_link(landing, folder) is None else ())
            if path not in taken
        ]
    return findings
