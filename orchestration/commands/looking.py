"""Looking at what is there without waiting for whoever writes it.

Belongs here: the live warehouse where nobody writes it, otherwise the readers' copy, and saying which. Does not belong
here: what is looked at (each command's module), or opening files (`segmentation/warehouse.py`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from segmentation.errors import WarehouseBusyError
from segmentation.warehouse import Connection, Warehouse, table_exists

#: How long looking waits for the warehouse before it takes the readers' copy.
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What is looked at.

    Attributes:
        con: The live warehouse, or the readers' copy, which can't be written.
        copied_at: When the copy was made; ``None`` where it is the live warehouse.
        note: For people, where it is the copy: who writes, and how old it is.
    """

    con: Connection
    copied_at: datetime | None = None
    note: str = ""


@contextmanager
def looking(warehouse: Warehouse, what: str, needs: tuple[str, str]) -> Iterator[Sight]:
    """Open the live warehouse, or while somebody writes it the readers' copy.

    Args:
        warehouse: Where.
        what: What is looked at, for people.
        needs: Schema and table that a copy must have to be of use; one from an older version may lack it.

    Raises:
        WarehouseBusyError: Somebody writes, and there is no copy with that table.
    """
    with ExitStack() as opened:
        try:
            brief = replace(warehouse, lock_wait_seconds=min(_WAIT_SECONDS, warehouse.lock_wait_seconds))
            sight = Sight(opened.enter_context(brief.write()))
        except WarehouseBusyError:
            if not warehouse.published_path.exists():
                raise
            con = opened.enter_context(warehouse.read())
            if not table_exists(con, *needs):
                raise
            note = (
                f"a run is writing since {warehouse.locked_at:%Y-%m-%d %H:%M:%S}; "
                f"showing {what} as they stood at {warehouse.copied_at:%Y-%m-%d %H:%M:%S}, in the readers' copy"
            )
            sight = Sight(con, warehouse.copied_at, note)
        yield sight
