"""What can go wrong between the warehouse and a destination, as errors a person can act on.

Belongs here: the errors of this stage and the translation of a database's or a disk's words into them. Does
not belong here: deciding what to do about them (``deliver.py``, ``publish.py``).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from segmentation.errors import StrataError

#: What the underlying system says, in lower case, and the edit or command that repairs it.
_REPAIRS = (
    ("readonly", "give the user of the run write permission, then `strata run --from sync`"),
    ("read-only", "give the user of the run write permission, then `strata run --from sync`"),
    ("permission denied", "give the user of the run write permission, then `strata run --from sync`"),
    ("is full", "free disk space, then `strata run --from sync`"),
    ("no space left", "free disk space, then `strata run --from sync`"),
    ("file too large", "free disk space, then `strata run --from sync`"),
    ("malformed", "move the file away, then `strata run --from sync`: it is written anew from the state"),
    ("not a database", "move the file away, then `strata run --from sync`: it is written anew from the state"),
    ("could not serialize", "strata run --from sync"),
    ("deadlock detected", "strata run --from sync"),
    ("duplicate key", "strata run --from sync"),
    ("connection failed", "see that the server answers at the url, then `strata run --from sync`"),
    ("server closed the connection", "see that the server answers at the url, then `strata run --from sync`"),
    ("locked", "wait for the other writer to end, or stop it, then `strata run --from sync`"),
    ("is a directory", "name a file, not a folder, in catalog/destinations.yml, then `strata run --from sync`"),
    ("unable to open", "check the path and its permissions, then `strata run --from sync`"),
)
_REPAIR = "repair the cause, then `strata run --from sync`: delivery goes on where it stopped"


class DestinationError(StrataError):
    """One destination can't be read or written; the others are not concerned."""


class FencedError(DestinationError):
    """A newer worker has taken the destination over; this one must stop writing to it."""


class StateError(StrataError):
    """The state database can't be read or written, or does not fit the candidate."""


class DeliveryError(StrataError):
    """Some destinations were not brought up to date; raised after all of them were tried."""


def repair_for(text: str) -> str:
    """Return the repair that fits what a database or an operating system said."""
    lowered = text.lower()
    return next((repair for sign, repair in _REPAIRS if sign in lowered), _REPAIR)


@contextmanager
def translated(kind: type[StrataError], what: str, where: str, expected: str) -> Iterator[None]:
    """Turn errors of databases and disks inside the block into ``kind``, with a repair that fits."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        # SQLAlchemy appends the statement and its parameters, which may hold customer ids.
        said = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
        raise kind(f"{what}: {said}", where=where, expected=expected, repair=repair_for(said)) from error
