"""Places that destinations have left: a url was edited, or the catalog no longer names them, and nobody emptied them.

Belongs here: noting where a destination is delivered to, finding what was left behind, and clearing it. Does not belong
here: a destination that the catalog names (``publish.py``, ``withdrawals.py``): nothing here writes to one.

A place is known by its url without password. Where a file is gone there is nothing left; whatever a server still holds
only who has its password can clear.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, func, inspect, make_url, select

from segmentation.errors import NotFoundError, StrataError
from segmentation.run import Run
from segmentation.sync.catalog import DestinationBase, SqlDestination
from segmentation.sync.engine import open_reader, shown, sqlite_file, upsert
from segmentation.sync.faults import StateError, translated
from segmentation.sync.state import State
from segmentation.sync.stores.contract import RESERVED
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore
from segmentation.sync.tables import DESIRED, PLACES

#: What stands in a url for a password that is not shown.
_HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class LeftPlace:
    """A place that still holds customers, though no destination of the catalog is there.

    Attributes:
        destination: Name of the destination that was delivered to it.
        url: Where it is, without a password.
        customers: How many it was last given.
        delivered_at: When a delivery last began there.
    """

    destination: str
    url: str
    customers: int
    delivered_at: datetime

    @property
    def fact(self) -> str:
        """What there is to know of it, for people."""
        return f"destination {self.destination} has left {self.url}, which still holds {self.customers:,} customers"

    @property
    def repair(self) -> str:
        """The command that clears it."""
        url = "" if self.is_reachable else " --url URL_WITH_PASSWORD"
        return f"strata destinations clear {self.destination}{url} --author YOU --reason WHY"

    @property
    def is_reachable(self) -> bool:
        """Whether its url is all that it takes to open it."""
        return _HIDDEN not in self.url


def note_place(state: State, run: Run, destination: DestinationBase, view_id: str) -> None:
    """Keep where a destination is, and how many customers it is about to hold; call it before anything is written."""
    if not isinstance(destination, SqlDestination):
        return
    with state.transaction() as connection:
        is_customer = DESIRED.c.customer_id.not_like(f"{RESERVED}%")
        wanted = select(func.count()).select_from(DESIRED).where(DESIRED.c.view_id == view_id, is_customer)
        row = {
            "destination": destination.name,
            "place": _place_of(destination.url),
            "customers": connection.execute(wanted).scalar_one(),
            "delivered_at": run.recorded_at,
        }
        connection.execute(upsert(connection, PLACES), [row])


def find_left(state_url: str, destinations: Sequence[DestinationBase]) -> list[LeftPlace]:
    """Return the places that destinations were delivered to and are no more; nothing is written.

    Args:
        state_url: SQLAlchemy url of the state database; where there is none yet, nothing was delivered.
        destinations: The catalog; one that is disabled is still where it is.

    Raises:
        StateError: The state database can't be read.
    """
    path = sqlite_file(make_url(state_url))
    if path is not None and not path.exists():
        return []
    held = {(one.name, _place_of(one.url)) for one in destinations if isinstance(one, SqlDestination)}
    with translated(StateError, "the state of sync can't be read", shown(state_url), "a readable state database"):
        engine = open_reader(state_url)
        try:
            with engine.begin() as connection:
                if not inspect(connection).has_table(PLACES.name):
                    return []
                rows = connection.execute(select(PLACES).order_by(PLACES.c.destination, PLACES.c.place)).all()
        finally:
            engine.dispose()
    found = [LeftPlace(row.destination, row.place, row.customers, row.delivered_at) for row in rows]
    return [one for one in found if (one.destination, one.url) not in held and _may_exist(one.url)]


def choose_left(
    state_url: str, destinations: Sequence[DestinationBase], name: str, place: str | None = None
) -> LeftPlace:
    """Return the one place that a person means.

    Raises:
        NotFoundError: The destination left none, or several and the person does not say which.
    """
    left = [one for one in find_left(state_url, destinations) if one.destination == name]
    meant = [one for one in left if place is None or one.url == _place_of(place)]
    if len(meant) == 1:
        return meant[0]
    what = f"destination {name} left several places" if left and place is None else f"destination {name} left no place"
    raise NotFoundError(
        f"{what} {shown(place)}" if place else what,
        where=shown(state_url),
        expected=", ".join(one.url for one in left) or "a destination whose url was edited, or that was taken out",
        repair="name one of them with --place" if left else "strata doctor lists the places that were left",
    )


def clear_left(left: LeftPlace, destinations: Sequence[DestinationBase], url: str | None = None) -> int:
    """Delete all that a destination left in a place; return how many rows it served. Again, it deletes nothing.

    Args:
        left: The place.
        destinations: The catalog: where one of that name is now must be another place.
        url: The place with its password, where it needs one.

    Raises:
        StrataError: The url is another place's, or the place is where the destination is now, under another name.
        DestinationError: The place can't be reached.
    """
    if url is not None and _place_of(url) != left.url:
        raise StrataError("the url is another place's", where=shown(url), expected=left.url)
    if url is None and not left.is_reachable:
        raise StrataError(
            f"{left.url} needs its password", where=left.url, expected="--url with the url as the catalog had it"
        )
    store = SqlAlchemyStore(left.destination, url or left.url)
    try:
        held = store.position()
        now = next((one for one in destinations if one.name == left.destination), None)
        if held is not None and isinstance(now, SqlDestination):
            present = SqlAlchemyStore(now.name, now.url)
            try:
                if present.position() == held:
                    raise StrataError(
                        f"{left.url} is where destination {left.destination} is now, under another url",
                        where=store.where,
                        expected="another place than that of the catalog, which has been delivered to",
                        repair="nothing is to be cleared; strata run --from sync, where the new place was not "
                        "delivered to yet",
                    )
            finally:
                present.close()
        return store.clear()
    finally:
        store.close()


def forget_left(state: State, left: LeftPlace) -> None:
    """Forget a place that was cleared."""
    with state.transaction() as connection:
        mine = (PLACES.c.destination == left.destination) & (PLACES.c.place == left.url)
        connection.execute(delete(PLACES).where(mine))


def _place_of(url: str) -> str:
    """Return what a place is known by: files by their full path, so that two spellings are one place."""
    parsed = make_url(url)
    path = sqlite_file(parsed)
    return shown(url) if path is None else f"sqlite:///{path.resolve()}"


def _may_exist(url: str) -> bool:
    path = sqlite_file(make_url(url))
    return path is None or Path(path).exists()
