"""The online store: membership by customer id in any database that SQLAlchemy reaches.

Belongs here: the tables at the destination and how they are written. Does not belong here: reading them for
callers (``lookup.py``). One table per generation: a full load fills a new one beside the one that is
served, and moving the pointer in the position's row makes it visible together with its sequence number.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)

from segmentation.sync.engine import compact, open_engine, read_many, shown, upsert, write_many
from segmentation.sync.faults import DestinationError, translated
from segmentation.sync.state import CrashPoint, Row, chunks
from segmentation.sync.stores.contract import Batch, Confirmation, Position, fenced, is_applied

POSITIONS = Table(
    "strata_positions",
    MetaData(),
    Column("destination", String, primary_key=True),
    Column("view_id", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger),
    Column("ref", String, nullable=False),
    Column("generation", BigInteger),
    Column("previous_generation", BigInteger),
    Column("as_of", DateTime),
    Column("delivered_at", DateTime),
    Column("max_staleness_seconds", BigInteger),
)
_READ_ROWS = 50_000
_COLUMNS = ("customer_id", "value")


def members_prefix(destination: str) -> str:
    """Return what the names of a destination's generations begin with."""
    return f"strata_members_{destination}_"


def members_table(destination: str, generation: int) -> Table:
    """Return the table that holds one generation of a destination's content."""
    return Table(
        f"{members_prefix(destination)}{generation}",
        MetaData(),
        Column("customer_id", String, primary_key=True),
        Column("value", Text, nullable=False),
        sqlite_with_rowid=False,
    )


class SqlAlchemyStore:
    """A destination of kind ``sqlalchemy``; see ``contract.Store`` for what its methods promise."""

    def __init__(self, name: str, url: str, engine: Engine | None = None) -> None:
        self.name = name
        self.where = shown(url)
        with self._readable():
            self._engine = engine or open_engine(url, durable=False)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def position(self) -> Position | None:
        """Return how far the store got, or ``None`` if it holds nothing of ours."""
        with self._transaction() as connection:
            if not inspect(connection).has_table(POSITIONS.name):
                return None
            row = connection.execute(select(POSITIONS).where(POSITIONS.c.destination == self.name)).first()
            if row is None:
                return None
            held = Position(row.view_id, row.epoch, row.seq, row.ref, row.as_of, row.delivered_at)
            if row.generation is None or not inspect(connection).has_table(self._members(row.generation).name):
                # The table is gone: whatever the position says, nothing is served.
                return Position("", held.epoch, None, "", None, None)
            return held

    def acquire(self, epoch: int) -> Position:
        """Take the store over; return where it stands."""
        with self._transaction() as connection:
            POSITIONS.create(connection, checkfirst=True)
            mine = POSITIONS.c.destination == self.name
            row = connection.execute(select(POSITIONS.c.epoch).where(mine).with_for_update()).first()
            if row is None:
                connection.execute(
                    insert(POSITIONS).values(destination=self.name, view_id="", epoch=epoch, seq=None, ref="")
                )
            elif row.epoch >= epoch:
                raise fenced(self, row.epoch, epoch)
            else:
                connection.execute(update(POSITIONS).where(mine).values(epoch=epoch))
        held = self.position()
        if held is None:
            raise DestinationError(
                f"destination {self.name} lost its position while it was taken over",
                where=self.where,
                expected="a database that keeps what was committed",
                repair="strata run --from sync",
            )
        return held

    def apply(self, epoch: int, batch: Batch) -> None:
        """Apply a batch and move the position, in one transaction."""
        with self._transaction() as connection:
            seq, generation = self._fence(connection, epoch)
            if is_applied(self, seq, batch):
                return
            self._write(connection, self._members(generation), batch.upserts, batch.deletes)
            self._move(connection, seq=batch.seq_to, ref=batch.ref)

    def replace(self, epoch: int, chunks: Iterable[list[Row]], end: Position, crash_point: CrashPoint) -> int:
        """Load everything into a new generation, then switch to it."""
        # The epoch numbers the generation: two workers never fill the same table.
        fresh = self._members(epoch)
        with self._transaction() as connection:
            self._fence(connection, epoch)
            fresh.create(connection)
        loaded = 0
        for chunk in chunks:
            with self._transaction() as connection:
                self._fence(connection, epoch)
                self._load(connection, fresh, chunk)
            loaded += len(chunk)
            crash_point("mid_snapshot")
        crash_point("before_flip")
        with self._transaction() as connection:
            _, served = self._fence(connection, epoch)
            self._move(
                connection,
                view_id=end.view_id,
                seq=end.seq,
                ref=end.ref,
                as_of=end.as_of,
                delivered_at=end.delivered_at,
                generation=epoch,
                previous_generation=served,
            )
        crash_point("after_flip")
        self._drop_old_generations(epoch)
        return loaded

    def confirm(self, epoch: int, confirmation: Confirmation) -> None:
        """Note that the store is in step with the source."""
        with self._transaction() as connection:
            self._fence(connection, epoch)
            self._move(
                connection,
                as_of=confirmation.as_of,
                delivered_at=confirmation.delivered_at,
                max_staleness_seconds=confirmation.max_staleness_seconds,
            )

    def read_back(self) -> Iterator[list[Row]]:
        """Yield everything the store serves."""
        with self._transaction() as connection:
            wanted = select(POSITIONS.c.generation).where(POSITIONS.c.destination == self.name)
            members = self._members(connection.execute(wanted).scalar_one())
            yield from read_many(connection, select(members.c.customer_id, members.c.value), _READ_ROWS)

    def repair(self, epoch: int, upserts: list[Row], deletes: list[str]) -> None:
        """Correct single rows; the position stays."""
        with self._transaction() as connection:
            _, generation = self._fence(connection, epoch)
            self._write(connection, self._members(generation), upserts, deletes)

    def forget(self, customer_ids: Sequence[str]) -> int:
        """Remove customers from every generation, the served one included."""
        prefix = members_prefix(self.name)
        gone = 0
        with self._transaction() as connection:
            for name in inspect(connection).get_table_names():
                if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                    members = members_table(self.name, int(name.removeprefix(prefix)))
                    mine = delete(members).where(members.c.customer_id.in_(customer_ids))
                    gone += connection.execute(mine).rowcount
        with self._readable():
            compact(self._engine)
        return gone

    def clear(self) -> int:
        """Delete everything of this destination's, for one that is no longer here; return the rows that were served.

        Other destinations in the same database keep theirs. A worker that comes back finds nothing to follow.
        """
        prefix = members_prefix(self.name)
        with self._transaction() as connection:
            if not inspect(connection).has_table(POSITIONS.name):
                return 0
            mine = POSITIONS.c.destination == self.name
            served = connection.execute(select(POSITIONS.c.generation).where(mine)).scalar()
            rows = 0
            for name in inspect(connection).get_table_names():
                if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                    members = self._members(int(name.removeprefix(prefix)))
                    if members.name == f"{prefix}{served}":
                        rows = connection.execute(select(func.count()).select_from(members)).scalar_one()
                    members.drop(connection)
            connection.execute(delete(POSITIONS).where(mine))
        with self._readable():
            compact(self._engine)
        return rows

    def _members(self, generation: int) -> Table:
        return members_table(self.name, generation)

    def _fence(self, connection: Connection, epoch: int) -> tuple[int | None, int]:
        wanted = (
            select(POSITIONS.c.epoch, POSITIONS.c.seq, POSITIONS.c.generation)
            .where(POSITIONS.c.destination == self.name)
            .with_for_update()
        )
        row = connection.execute(wanted).first()
        if row is None or row.epoch != epoch:
            raise fenced(self, row.epoch if row else None, epoch)
        return row.seq, row.generation

    def _move(self, connection: Connection, **values: object) -> None:
        connection.execute(update(POSITIONS).where(POSITIONS.c.destination == self.name).values(**values))

    def _load(self, connection: Connection, members: Table, rows: list[Row]) -> None:
        if rows:
            write_many(connection, insert(members), _COLUMNS, rows)

    def _write(self, connection: Connection, members: Table, upserts: list[Row], deletes: list[str]) -> None:
        for part in chunks(upserts):
            write_many(connection, upsert(connection, members), _COLUMNS, part)
        gone = delete(members).where(members.c.customer_id == bindparam("b_customer"))
        for names in chunks(deletes):
            write_many(connection, gone, ("b_customer",), [(customer_id,) for customer_id in names])

    def _drop_old_generations(self, served: int) -> None:
        """Keep what is served and the generation before it, which readers may still be reading."""
        prefix = members_prefix(self.name)
        with self._transaction() as connection:
            wanted = select(POSITIONS.c.previous_generation).where(POSITIONS.c.destination == self.name)
            previous = connection.execute(wanted).scalar()
            kept = {f"{prefix}{served}", f"{prefix}{previous}"}
            for name in inspect(connection).get_table_names():
                if name.startswith(prefix) and name.removeprefix(prefix).isdigit() and name not in kept:
                    members_table(self.name, int(name.removeprefix(prefix))).drop(connection)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._readable(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _readable(self) -> Iterator[None]:
        with translated(
            DestinationError, f"destination {self.name} can't be used", self.where, "a database that can be written"
        ):
            yield
