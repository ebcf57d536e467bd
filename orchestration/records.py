"""Dagster's records in files, for a process that writes them all the time: a run of the command line.

Belongs here: how those files are opened. Does not belong here: what is in them, which is Dagster's; opening the
records at all (`instance.py`). Dagster opens a file anew for every event, and a run writes hundreds: the opening,
the closing and the disk that each waits for were a fifth of a small run. Here a file stays open for as long as the
records do. The servers of the UI, which look at many runs for a long time, keep Dagster's own way.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from dagster._core.instance.ref import InstanceRef, _event_logs_directory, _runs_directory, _schedule_directory
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event, inspect


def keep_open(ref: InstanceRef) -> InstanceRef:
    """Return the reference of the same records, kept open where they are Dagster's usual files."""
    usual = ref.storage_data
    if usual is None or usual.class_name != DagsterSqliteStorage.__name__:
        return ref
    return ref._replace(storage_data=ConfigurableClassData(__name__, OpenStorage.__name__, usual.config_yaml))


class OpenStorage(DagsterSqliteStorage):
    """Dagster's usual files, kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = OpenRunStorage.from_local(_runs_directory(base_dir))
        self._event_log_storage = OpenEventLogStorage(_event_logs_directory(base_dir))
        self._schedule_storage = SqliteScheduleStorage.from_local(_schedule_directory(base_dir))
        self._inst_data = inst_data

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> "OpenStorage":
        """Open what the configuration of Dagster's own class describes."""
        return cls.from_local(inst_data=inst_data, **config_value)


class OpenRunStorage(SqliteRunStorage):
    """Dagster's record of runs, kept open."""

    _engine: Engine | None = None

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Lend the connection for one transaction."""
        self._engine = self._engine or _open(self._conn_string)
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the file."""
        if self._engine:
            self._engine.dispose()
        super().dispose()


class OpenEventLogStorage(SqliteEventLogStorage):
    """Dagster's record of events, one file for each run and one for all of them, kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Lend the connection to the file of a run, or of all runs, for one transaction."""
        with self._db_lock:
            engine = self._engines.get(shard)
            if engine is None:
                engine = self._engines[shard] = _open(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Say whether the file of all runs has a table; asked at every event, and none goes away."""
        return table_name in self._tables

    @cached_property
    def _tables(self) -> frozenset[str]:
        # Not through `_connect`: who asks may hold its lock.
        engine = create_engine(self.conn_string_for_shard(INDEX_SHARD_NAME), poolclass=NullPool)
        return frozenset(inspect(engine).get_table_names())

    def dispose(self) -> None:
        """Close the files."""
        for engine in self._engines.values():
            engine.dispose()
        super().dispose()


def _open(url: str) -> Engine:
    """Return an engine with one connection, which stays open and does not wait for the disk.

    What is written reaches the disk when the system writes it. A process that is killed loses nothing; a machine
    that loses power may lose the last of these records, never the data: the warehouse and sync keep their own.
    """
    options = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
    # Dagster makes a file's tables with a second connection.
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=1, connect_args=options)

    @event.listens_for(engine, "connect")
    def relax(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("pragma synchronous = normal")

    return engine
