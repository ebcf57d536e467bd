"""What the engine could not do, in words a person can act on.

Belongs here: telling a damaged file from a full disk. Does not belong here: files that the system does not give
(`landing.py`) or rows that are no rows (`reader.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from segmentation.errors import SourceError, StrataError
from segmentation.sources.landing import LandedFile


@contextmanager
def explained(file: LandedFile) -> Iterator[None]:
    """Turn the engine's refusal of a file into one a person can act on.

    Raises:
        SourceError: The file is damaged.
        StrataError: The disk is full, or memory ran out.
    """
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.IOException, duckdb.InvalidTypeException) as error:
        require_space(error)
        raise damaged(file, error) from error


def damaged(file: LandedFile, error: duckdb.Error) -> SourceError:
    """Say that the engine can't read a file, in its first line of words."""
    first = re.sub(r"^\w[\w ]* Error: ", "", str(error).strip().splitlines()[0])
    return SourceError(
        f"the file is damaged or not {file.format}: {first}",
        where=str(file.path),
        expected=f"a complete {file.format} file{' in ' + file.feed.encoding if file.format != 'parquet' else ''}",
        repair="deliver the file again, whole; see: strata check-source " + str(file.path),
    )


def require_space(error: Exception) -> None:
    """Stop the run where an error is the disk's, not the file's.

    Raises:
        StrataError: No space is left, or memory ran out.
    """
    text = str(error).lower()
    if "no space left" in text or "disk full" in text or "disk quota" in text or "max_temp_directory_size" in text:
        raise StrataError(
            f"no space is left on the disk: {str(error).strip().splitlines()[0]}",
            where="the warehouse or its spill folder",
            expected="room for the new rows; nothing was published",
            repair="free space, then run again",
        ) from error
    if isinstance(error, duckdb.OutOfMemoryException):
        raise StrataError(
            f"the engine's memory ran out: {str(error).strip().splitlines()[0]}",
            where="the warehouse",
            expected="room for one file's rows; nothing was published",
            repair="raise the memory limit in the settings, or land the file in smaller parts",
        ) from error
