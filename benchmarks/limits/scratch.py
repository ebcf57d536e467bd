"""Where limits work: an empty database of their own, with the warehouse attached for reading as ``house``.

Belongs here: opening it with the warehouse's own settings, but for memory. Does not belong here: what is computed
in it (one module per stage). A limit writes its result into a file as the stage does, and can harm nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from orchestration.settings import Settings
from segmentation.warehouse import Connection, literal

#: Memory for limits. One statement that holds a whole stage needs more at a time than the stage does step by step.
MEMORY_LIMIT = "60%"


def scratch_path(settings: Settings) -> Path:
    """Return the file that limits write."""
    return settings.data / "limit.duckdb"


def remove_scratch(settings: Settings) -> None:
    """Remove what an earlier limit wrote."""
    for suffix in ("", ".wal", ".lock"):
        scratch_path(settings).with_name(f"{scratch_path(settings).name}{suffix}").unlink(missing_ok=True)


@contextmanager
def open_scratch(settings: Settings) -> Iterator[Connection]:
    """Open the limits' database; closing it writes everything to disk, as closing the warehouse does."""
    with replace(settings.warehouse, path=scratch_path(settings), memory_limit=MEMORY_LIMIT).write() as con:
        if settings.warehouse.path.exists():
            con.execute(f"attach {literal(str(settings.warehouse.path))} as house (read_only)")
        yield con


def newest_version(table: str, key: str, known: str) -> str:
    """Return a query for the newest version of every row of a sources table that is known by ``$as_of``.

    Only rows whose key occurs again are ranked; all others stand as they are.

    Args:
        table: Table in schema ``sources``.
        key: Key columns, comma-separated.
        known: Condition that a row was known by then.
    """
    again = f"select hash({key}) from house.sources.{table} where {known} group by 1 having count(*) > 1"
    return (
        f"select * from house.sources.{table} where {known} and hash({key}) not in ({again}) union all "
        f"select * from house.sources.{table} where {known} and hash({key}) in ({again}) "
        f"qualify row_number() over (partition by {key} order by file_id desc, line desc) = 1"
    )


def find_customer(columns: str) -> tuple[str, str]:
    """Return the SQL for a row's customer and the joins that find it.

    Args:
        columns: Identifier columns of the rows (alias ``r``), best first, separated by blanks.
    """
    names = columns.split()
    joins = " ".join(
        f"left join house.identity.identifier_lookup as by_{name} on by_{name}.id_type = '{name}' "
        f"and by_{name}.raw_value = r.{name}"
        + (f" and by_{name}.id_namespace = r.source" if name == "source_customer_id" else "")
        for name in names
    )
    customer = ", ".join(f"by_{name}.customer_id" for name in names)
    return (f"coalesce({customer})" if len(names) > 1 else customer), joins
