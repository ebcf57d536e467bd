"""Which tables readers get: what is published, without raw sources and without candidates."""

from segmentation.warehouse import Connection

#: Schemas whose tables readers get whole, but for candidates.
READABLE_SCHEMAS: tuple[str, ...] = ("features", "segments", "costs", "sync", "marts", "ops")

#: Beside those, the tables that explaining a membership and showing the gates needs; raw rows stay behind.
READABLE_TABLES: tuple[tuple[str, str], ...] = (
    ("ops", "candidates"),
    ("sources", "files"),
    ("sources", "withheld"),
    ("identity", "customers"),
    ("identity", "customer_aliases"),
    ("identity", "customer_accounts"),
    ("identity", "customer_consents"),
    ("identity", "edges"),
    ("identity", "identifiers"),
    ("identity", "identifier_map"),
    ("identity", "identifier_lookup"),
    ("identity", "events"),
    ("identity", "metrics"),
    ("identity", "profiles"),
    ("identity", "profile_conflicts"),
    ("identity", "attributions"),
    ("identity", "rules"),
    ("identity", "publications"),
    ("identity", "acknowledgements"),
)


#: Tables of readable schemas that stay behind: second forms of others, of use to the stages alone.
UNREAD_TABLES: tuple[tuple[str, str], ...] = (
    ("segments", "masks"),
    ("segments", "places"),
    ("sync", "desired"),
    ("sync", "desired_heads"),
)


def readable_tables(con: Connection) -> list[tuple[str, str]]:
    """Return ``(schema, table)`` of everything that belongs in the readers' copy, in a fixed order."""
    tables = con.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_catalog = current_database() order by 1, 2"
    ).fetchall()
    return [
        (schema, table)
        for schema, table in tables
        if (schema, table) in READABLE_TABLES
        or (schema in READABLE_SCHEMAS and not table.startswith("candidate") and (schema, table) not in UNREAD_TABLES)
    ]
