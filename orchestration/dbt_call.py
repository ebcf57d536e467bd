"""Calling dbt, in this process.

Belongs here: one call of dbt, what it printed, and letting go of the warehouse afterwards. Does not belong here:
the project (`dbt_project.py`), what a step builds (`dbt_build.py`), or anything of Dagster.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DbtCall:
    """A call of dbt that has ended.

    Attributes:
        arguments: What followed ``dbt`` on its command line.
        exit_code: 0 done, 1 something failed that dbt reports, 2 dbt could not do what it was asked to.
        lines: What dbt prints in its JSON format, from the level ``info`` on.
        result: What the command returns: the manifest of ``parse``, the results of ``build``.
    """

    arguments: tuple[str, ...]
    exit_code: int
    lines: tuple[str, ...]
    result: Any

    @property
    def errors(self) -> list[str]:
        """What dbt says went wrong."""
        events = (json.loads(line)["info"] for line in self.lines)
        return [event["msg"] for event in events if event["level"] == "error"]


def call_dbt(arguments: Sequence[str], manifest: Any = None) -> DbtCall:
    """Call dbt and wait for its end; whatever it had open is closed then.

    A process of its own would take over two seconds of start-up for each call. dbt supports calls one after the
    other in one process, not at the same time: callers hold the warehouse, or the lock of the parsed project.

    Args:
        arguments: The command and its options; project, profiles and folders included.
        manifest: The parsed project, as ``parse`` returns it; without it dbt parses what has changed.
    """
    # Imported here: who only loads definitions needs no dbt that runs.
    from dbt.cli.main import dbtRunner  # noqa: PLC0415 - takes a second, and most commands need none
    from dbt_common.events.functions import msg_to_json  # noqa: PLC0415 - comes with dbt

    lines: list[str] = []

    def keep(message: Any) -> None:
        if message.info.level != "debug":
            lines.append(msg_to_json(message))

    try:
        # The lines are the caller's to print; dbt keeps more of them in its log file.
        silently = ["--no-use-colors", "--log-level", "none", "--log-level-file", "debug"]
        done = dbtRunner(manifest, [keep]).invoke([*silently, *arguments])
    finally:
        _close_warehouse()
    exit_code = 0 if done.success else 1 if done.exception is None else 2
    call = DbtCall(tuple(arguments), exit_code, tuple(lines), done.result)
    # dbt's runner keeps even what stops the process for itself; and a wrong option is in none of its messages.
    if done.exception is not None and not (isinstance(done.exception, Exception) and call.errors):
        raise done.exception
    return call


def _close_warehouse() -> None:
    """Close the file that dbt's adapter keeps open for a next call: nobody else could open it until then."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415 - comes with dbt

    if DuckDBConnectionManager._ENV is not None:  # noqa: SLF001 - `env()` raises where there is none
        DuckDBConnectionManager.env().close()
        DuckDBConnectionManager.close_all_connections()
