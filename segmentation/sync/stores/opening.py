"""Opening a destination's store by its kind: the one place where kinds are told apart.

A new kind of runtime system is a module beside this one, a class in ``segmentation/sync/catalog.py`` and a
line here; delivery, reconciliation and proof then work for it unchanged.
"""

from pathlib import Path

from segmentation.sync.catalog import FlagdDestination, SqlDestination
from segmentation.sync.stores.contract import Store
from segmentation.sync.stores.flagd import FlagdStore
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore


def open_store(destination: SqlDestination | FlagdDestination) -> Store:
    """Return the open store of a destination.

    Raises:
        DestinationError: It can't be opened.
    """
    match destination:
        case SqlDestination():
            return SqlAlchemyStore(destination.name, destination.url)
        case FlagdDestination():
            return FlagdStore(destination.name, Path(destination.path))
