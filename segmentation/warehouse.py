"""The warehouse: one DuckDB file, one writer at a time.

Belongs here: opening, locking, transactions, atomic table swaps, the copy that readers get. Does not
belong here: what the tables mean (each stage's ``schema.sql``).
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from segmentation.errors import StrataError, WarehouseBusyError

Connection = duckdb.DuckDBPyConnection

#: A column of a table's definition, as the engine prints it, that says how it is stored.
_COMPRESSED = re.compile(r'(?:[(]|, )("(?:[^"]|"")+"|\w+) [^,"]+ USING COMPRESSION (\w+)')

#: What operating systems say, in lower case, when a file can't grow.
_NO_ROOM = ("no space left", "file too large", "quota exceeded")


def quote(identifier: str) -> str:
    """Quote an SQL identifier, dots excluded: ``a"b`` becomes ``"a""b"``."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote an SQL string literal: ``it's`` becomes ``'it''s'``."""
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def transaction(con: Connection) -> Iterator[Connection]:
    """Run a block as one transaction: all of it is seen, or nothing."""
    con.execute("begin transaction")
    try:
        yield con
    except BaseException:
        # DuckDB ends the transaction itself on some errors; there is nothing left to undo then.
        with suppress(duckdb.TransactionException):
            con.execute("rollback")
        raise
    con.execute("commit")


def scalar(con: Connection, sql: str, parameters: object = None) -> object:
    """Return the single value of a query's single row, ``None`` where there is no row."""
    rows = con.execute(sql, parameters).fetchall()
    return rows[0][0] if rows else None


def count(con: Connection, table: str) -> int:
    """Return the number of rows of ``table`` (a trusted name)."""
    return int(con.execute(f"select count(*) from {table}").fetchall()[0][0])


def has_rows(con: Connection, rows: str) -> bool:
    """Say whether ``rows`` (a trusted name of a table, or one with a condition) holds any."""
    return bool(con.execute(f"select 1 from {rows} limit 1").fetchall())


def table_exists(con: Connection, schema: str, table: str) -> bool:
    """Say whether a table or view exists."""
    found = con.execute(
        "select 1 from duckdb_tables() where schema_name = $schema and table_name = $name union all "
        "select 1 from duckdb_views() where schema_name = $schema and view_name = $name",
        {"schema": schema, "name": table},
    ).fetchall()
    return bool(found)


def swap_table(con: Connection, schema: str, source: str, target: str) -> None:
    """Publish ``source`` under the name ``target`` without copying a row.

    The old target goes, ``source`` takes its name, and a view under the old name keeps the judged
    candidate readable. Call it inside a transaction.
    """
    name = quote(schema)
    con.execute(f"drop table if exists {name}.{quote(target)}")
    con.execute(f"alter table {name}.{quote(source)} rename to {quote(target)}")
    con.execute(f"create view {name}.{quote(source)} as select * from {name}.{quote(target)}")


def _compressed_columns(con: Connection, schema: str, table: str) -> str | None:
    """Return a table's columns as its definition stores them, ``None`` where it leaves that to the engine.

    Looking for the best way to store columns whose way is known costs more than writing them.
    """
    found = con.execute(
        "select c.column_name, c.data_type, t.sql from duckdb_columns() as c join duckdb_tables() as t "
        "using (database_name, schema_name, table_name) where database_name = current_database() "
        "and schema_name = ? and table_name = ? and contains(t.sql, ' USING COMPRESSION ') order by c.column_index",
        [schema, table],
    ).fetchall()
    if not found:
        return None
    said = _COMPRESSED.findall(found[0][2])
    ways = {name.strip('"').replace('""', '"'): f" using compression {way}" for name, way in said}
    return ", ".join(f"{quote(name)} {kind}{ways.get(name, '')}" for name, kind, _ in found)


@dataclass(frozen=True)
class Warehouse:
    """The one file that holds all stages.

    Attributes:
        path: The live file; only a run opens it.
        published_path: The copy that people and tools read.
        memory_limit: DuckDB's memory limit, for example ``4GB``.
        threads: DuckDB's threads; 0 leaves its default.
        lock_wait_seconds: How long to wait for another writer before giving up.
    """

    path: Path
    published_path: Path
    memory_limit: str = "3GB"
    threads: int = 0
    lock_wait_seconds: float = 60.0

    @property
    def lock_path(self) -> Path:
        """File whose advisory lock a writer holds; it says who holds it."""
        return self.path.with_name(self.path.name + ".lock")

    @property
    def temp_directory(self) -> Path:
        """Where the engine spills what does not fit into memory."""
        return self.path.with_name(self.path.name + ".spill")

    @property
    def locked_at(self) -> datetime:
        """When the lock was last taken, UTC, without time zone; asked while somebody holds it."""
        return datetime.fromtimestamp(self.lock_path.stat().st_mtime, UTC).replace(tzinfo=None)

    @property
    def copied_at(self) -> datetime:
        """When the readers' copy was put in place, UTC, without time zone."""
        return datetime.fromtimestamp(self.published_path.stat().st_mtime, UTC).replace(tzinfo=None)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open the live file for writing, alone.

        Raises:
            WarehouseBusyError: Another process held it for longer than ``lock_wait_seconds``.
            StrataError: Its disk is full.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.exclusive(), self._full_disk_told():
            con = self._connect(self.path, read_only=False)
            try:
                yield con
            finally:
                con.close()

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            fact = " ".join(str(error).split())
            if not any(sign in fact.lower() for sign in _NO_ROOM):
                raise
            raise StrataError(
                f"there is no room to write: {fact}",
                where=str(self.path.parent),
                expected="free disk space, about as much as the warehouse takes; what was published is as it was",
                repair="free disk space, then strata run",
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open the published copy for reading; it never waits for a writer.

        Raises:
            StrataError: Nothing has been published yet.
        """
        if not self.published_path.exists():
            raise StrataError(
                "nothing has been published yet",
                where=str(self.published_path),
                expected="a finished run",
                repair="strata run",
            )
        con = self._connect(self.published_path, read_only=True)
        try:
            yield con
        finally:
            con.close()

    @contextmanager
    def scratch(self) -> Iterator[Connection]:
        """Open an empty database in memory, beside the published copy, which is attached as ``live`` for reading alone.

        For trying things on: nothing that is written outlives the block, and no writer is kept waiting.

        Raises:
            StrataError: Nothing has been published yet.
        """
        with self.read():
            # It says what is wrong with the copy, if anything is.
            pass
        con = self._connect(Path(":memory:"), read_only=False)
        try:
            con.execute(f"attach {literal(str(self.published_path))} as live (read_only)")
            yield con
        finally:
            con.close()

    def publish_copy(self, con: Connection, tables: Iterable[tuple[str, str]]) -> int:
        """Write the named ``(schema, table)`` pairs to a new file and put it in place of the readers' copy.

        Readers that have the old file open go on reading it; new ones see the new file. Views are
        written out as tables. Returns the number of tables copied.
        """
        draft = self.published_path.with_name(self.published_path.name + ".draft")
        self.published_path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        copied = 0
        con.execute(f"attach {literal(str(draft))} as published_draft")
        try:
            for schema, table in tables:
                con.execute(f"create schema if not exists published_draft.{quote(schema)}")
                name = f"{quote(schema)}.{quote(table)}"
                if columns := _compressed_columns(con, schema, table):
                    con.execute(f"create table published_draft.{name} ({columns})")
                    con.execute(f"insert into published_draft.{name} select * from {name}")
                else:
                    con.execute(f"create table published_draft.{name} as select * from {name}")
                copied += 1
        finally:
            con.execute("detach published_draft")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(self.published_path)
        return copied

    def renew_in_copy(self, con: Connection, tables: Iterable[tuple[str, str]]) -> None:
        """Put the named ``(schema, table)`` pairs into the readers' copy as they are now; all else in it stays.

        As with ``publish_copy``, readers see all of it at once. Where nothing was published yet there is no copy.
        """
        if not self.published_path.exists():
            return
        draft = self.published_path.with_name(self.published_path.name + ".draft")
        shutil.copyfile(self.published_path, draft)
        con.execute(f"attach {literal(str(draft))} as published_draft")
        try:
            for schema, table in tables:
                name = f"{quote(schema)}.{quote(table)}"
                con.execute(f"create schema if not exists published_draft.{quote(schema)}")
                con.execute(f"create or replace table published_draft.{name} as select * from {name}")
        finally:
            con.execute("detach published_draft")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(self.published_path)

    def copy_live(self, target: Path) -> int:
        """Write a whole copy of the live file to ``target``, for trying things on; return its bytes.

        Writers wait for as long as copying takes, not for what is tried.

        Raises:
            WarehouseBusyError: Another process held it for longer than ``lock_wait_seconds``.
            StrataError: The disk is full.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.exclusive(), self._full_disk_told():
            con = self._connect(self.path, read_only=False)
            try:
                # What a killed process left in the log belongs to the file.
                con.execute("checkpoint")
            finally:
                con.close()
            shutil.copyfile(self.path, target)
        return target.stat().st_size

    def rewrite(self) -> int:
        """Write the live file anew, so that nothing that was deleted remains in it; return its bytes.

        Deleting rows leaves their bytes in free blocks of the file, checkpoint or not. The new file takes the
        old one's place at once: a kill before that leaves the old one, with nothing lost. Needs room for both.

        Raises:
            WarehouseBusyError: Another process held it for longer than ``lock_wait_seconds``.
            StrataError: Its disk is full.
        """
        draft = self.path.with_name(self.path.name + ".rewritten")
        with self.exclusive(), self._full_disk_told():
            draft.unlink(missing_ok=True)
            con = self._connect(self.path, read_only=False)
            try:
                name = scalar(con, "select current_database()")
                con.execute(f"attach {literal(str(draft))} as rewritten")
                con.execute(f"copy from database {quote(str(name))} to rewritten")
                con.execute("detach rewritten")
            finally:
                con.close()
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(self.path)
            self.path.with_name(self.path.name + ".wal").unlink(missing_ok=True)
        return self.path.stat().st_size

    def _connect(self, path: Path, *, read_only: bool) -> Connection:
        con = self._open(path, read_only=read_only)
        if not read_only:
            self.temp_directory.mkdir(parents=True, exist_ok=True)
        con.execute(f"set memory_limit = {literal(self.memory_limit)}")
        con.execute(f"set temp_directory = {literal(str(self.temp_directory))}")
        con.execute("set timezone = 'UTC'")
        # It would write into whatever a command prints, JSON included.
        con.execute("set enable_progress_bar = false")
        # Rows keep no order of their own: every result that needs one says so.
        con.execute("set preserve_insertion_order = false")
        if self.threads:
            con.execute(f"set threads = {int(self.threads)}")
        return con

    def _open(self, path: Path, *, read_only: bool) -> Connection:
        """Open a file; wait for a program that has it open without our lock, such as a dbt whose run was killed."""
        deadline = time.monotonic() + self.lock_wait_seconds
        while True:
            try:
                return duckdb.connect(str(path), read_only=read_only)
            except duckdb.Error as error:
                fact = str(error).splitlines()[0]
                if "Could not set lock" not in fact:
                    raise StrataError(
                        f"the warehouse can't be opened: {fact}",
                        where=str(path),
                        expected="a whole DuckDB file",
                        repair="strata run"
                        if path == self.published_path
                        else f"put a backup in its place; or mv {path} {path}.damaged, "
                        "then strata restore identity, then strata run",
                    ) from error
                if time.monotonic() >= deadline:
                    raise WarehouseBusyError(
                        f"another program has the file open: {fact}",
                        where=str(path),
                        expected="one program at a time; readers open the published copy",
                        repair="close that program, then run again",
                    ) from error
                time.sleep(0.2)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other writer out, without opening the file: another program is about to write it.

        Raises:
            WarehouseBusyError: Another process held it for longer than ``lock_wait_seconds``.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + self.lock_wait_seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
                        raise WarehouseBusyError(
                            f"the warehouse is being written by another process ({holder})",
                            where=str(self.path),
                            expected="one writer at a time",
                            repair="wait for the other run to end, or stop it, then run again",
                        ) from None
                    time.sleep(0.1)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)
