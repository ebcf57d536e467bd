"""Writing the files of the landing folder, so that nobody ever sees half of one.

Belongs here: formats, encodings, compression, and the move of finished files into their feed's folder.
Does not belong here: what the files say (the module of each feed).
"""

import gzip
import json
import shutil
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

from segmentation.sample.world import World
from segmentation.warehouse import literal

#: Folder of files in the making; folders that begin with "_" are not feeds. It lies two levels deep, so that
#: nothing in it looks like a landed file, even after a kill.
WRITING = "_writing/work"

#: File at the landing root with the names of all files that a sample put there.
LISTING = "_sample_files.json"

_CHUNK = 1 << 20


def day_ranges(world: World, rows: int, *, least: int = 4, rows_per_file: int = 1_000_000) -> list[tuple[int, int]]:
    """Cut the period into ranges of days, ``(first, end)`` with the end left out, one file each.

    There are at least ``least`` ranges and as many as keep a file near ``rows_per_file`` rows, so that
    the memory a file takes does not grow with the company.
    """
    files = min(world.days, max(least, -(-rows // rows_per_file)))
    edges = [world.days * n // files for n in range(files + 1)]
    return list(pairwise(edges))


def span(world: World, first: int, end: int) -> str:
    """Name a range of days as file names do: ``20260704_20260802``."""
    day_one, day_last = world.start + timedelta(days=first), world.start + timedelta(days=end - 1)
    return f"{stamp(day_one)}_{stamp(day_last)}"


def stamp(day: date) -> str:
    """Write a day as file names do."""
    return f"{day:%Y%m%d}"


@dataclass
class Landing:
    """The landing folder while a sample is written.

    Attributes:
        root: The landing folder.
        world: The company whose tables the queries read.
        rows: Rows written so far, by feed folder.
        files: Files written so far, relative to the root.
    """

    root: Path
    world: World
    rows: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def write_csv(
        self, feed: str, name: str, query: str, *, delimiter: str = ",", encoding: str = "utf-8", gzipped: bool = False
    ) -> None:
        """Write a query's rows as CSV with a header line; ``name`` has no suffix."""
        draft = self._copy(feed, query, f"format csv, header true, delimiter {literal(delimiter)}")
        if draft is None:
            return
        if encoding != "utf-8":
            draft = _recode(draft, encoding)
        self._land(_compress(draft) if gzipped else draft, feed, f"{name}.csv.gz" if gzipped else f"{name}.csv")

    def write_ndjson(self, feed: str, name: str, query: str, *, gzipped: bool = False) -> None:
        """Write a query's rows as one JSON object a line."""
        draft = self._copy(feed, query, "format json")
        if draft is not None:
            target = f"{name}.ndjson.gz" if gzipped else f"{name}.ndjson"
            self._land(_compress(draft) if gzipped else draft, feed, target)

    def write_parquet(self, feed: str, name: str, query: str) -> None:
        """Write a query's rows as Parquet."""
        draft = self._copy(feed, query, "format parquet, compression zstd, row_group_size 122880")
        if draft is not None:
            self._land(draft, feed, f"{name}.parquet")

    def _copy(self, feed: str, query: str, options: str) -> Path | None:
        draft = self.root / WRITING / "draft"
        rows = self.world.number(f"copy ({query}) to {literal(str(draft))} ({options})")
        if not rows:
            draft.unlink(missing_ok=True)
            return None
        self.rows[feed] = self.rows.get(feed, 0) + rows
        return draft

    def _land(self, draft: Path, feed: str, name: str) -> None:
        target = self.root / WRITING / "files" / feed / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.replace(target)
        self.files.append(f"{feed}/{name}")

    def publish(self) -> None:
        """Move all finished files into their feeds' folders, in place of those of an earlier sample.

        The list of files is written before the first move: whoever is cut short in between leaves a list
        of all that may be there, and the next sample clears it.
        """
        listing = self.root / LISTING
        former = json.loads(listing.read_text(encoding="utf-8")) if listing.exists() else []
        _write_list(listing, former + self.files)
        for name in former:
            (self.root / name).unlink(missing_ok=True)
        for name in self.files:
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (self.root / WRITING / "files" / name).replace(target)
        _write_list(listing, self.files)


def _write_list(listing: Path, names: list[str]) -> None:
    draft = listing.with_name(f"{listing.name}.draft")
    draft.write_text(json.dumps(sorted(set(names)), indent=1) + "\n", encoding="utf-8")
    draft.replace(listing)


def _compress(source: Path) -> Path:
    target = source.with_name("draft.gz")
    # No file name and no time in the header: the same rows give the same bytes.
    with (
        source.open("rb") as plain,
        target.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed,
    ):
        shutil.copyfileobj(plain, packed, _CHUNK)
    source.unlink()
    return target


def _recode(source: Path, encoding: str) -> Path:
    target = source.with_name("draft.recoded")
    with (
        source.open(encoding="utf-8", newline="") as text,
        target.open("w", encoding=encoding, errors="replace", newline="") as recoded,
    ):
        shutil.copyfileobj(text, recoded, _CHUNK)
    source.unlink()
    return target
