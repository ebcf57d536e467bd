"""The tables of the state database: what was decided, in which order, and who has it.

Belongs here: shapes only. Does not belong here: what is done to them (``state.py``). The warehouse holds
copies for analysts (``schema.sql``); where the two differ, this database is right.
"""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, String, Table, Text

METADATA = MetaData()

#: One row per consent view: where its log ends, and from where on it is complete.
VIEWS = Table(
    "views",
    METADATA,
    Column("view_id", String, primary_key=True),
    Column("purposes", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_ref", String, nullable=False),
    # Rows up to floor_seq are not in the log (a snapshot, or retention): older positions load anew.
    Column("floor_seq", BigInteger, nullable=False),
    Column("floor_ref", String, nullable=False),
    Column("as_of", DateTime, nullable=False),
    Column("published_at", DateTime, nullable=False),
)

#: What every destination of a view should hold at its head.
DESIRED = Table(
    "desired",
    METADATA,
    Column("view_id", String, primary_key=True),
    Column("customer_id", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: The order in which it came to be so; a value of null removes the customer.
CHANGE_LOG = Table(
    "change_log",
    METADATA,
    Column("view_id", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("customer_id", String, nullable=False),
    Column("value", Text),
    Column("commit_ref", String, nullable=False),
    Column("event_time", DateTime, nullable=False),
    Column("committed_at", DateTime, nullable=False),
    Column("priority", Integer, nullable=False),
    sqlite_with_rowid=False,
)

#: Our side of each destination. The position that counts is the one the destination itself holds.
DESTINATIONS = Table(
    "destinations",
    METADATA,
    Column("destination", String, primary_key=True),
    Column("view_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("acked_seq", BigInteger),
    Column("paused", Boolean, nullable=False),
    Column("lease_owner", String),
    Column("status", String, nullable=False),
    Column("last_error", Text),
    Column("as_of", DateTime),
    Column("updated_at", DateTime),
)

#: Where each destination was delivered to, so that a place it leaves is not left with customers in it unnoticed.
PLACES = Table(
    "places",
    METADATA,
    Column("destination", String, primary_key=True),
    # The url without a password.
    Column("place", String, primary_key=True),
    Column("customers", BigInteger, nullable=False),
    Column("delivered_at", DateTime, nullable=False),
)

#: One row per run and view: what it changed.
RUNS = Table(
    "runs",
    METADATA,
    Column("run_id", String, primary_key=True),
    Column("view_id", String, primary_key=True),
    Column("mode", String, nullable=False),
    Column("base_seq", BigInteger, nullable=False),
    Column("base_ref", String, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("commit_ref", String, nullable=False),
    Column("inserts", BigInteger, nullable=False),
    Column("updates", BigInteger, nullable=False),
    Column("deletes", BigInteger, nullable=False),
    Column("as_of", DateTime, nullable=False),
    Column("recorded_at", DateTime, nullable=False),
)

#: Rows that a destination refused; each is tried again in every run until a newer value replaces it.
DEAD_LETTERS = Table(
    "dead_letters",
    METADATA,
    Column("destination", String, primary_key=True),
    Column("customer_id", String, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("value", Text),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", DateTime, nullable=False),
    Column("last_failed_at", DateTime, nullable=False),
)

#: Proof of delivery: what a destination held, read back from it.
RECEIPTS = Table(
    "receipts",
    METADATA,
    Column("receipt_id", String, primary_key=True),
    Column("destination", String, nullable=False),
    Column("view_id", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("ref", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
    Column("rows_deleted", BigInteger, nullable=False),
    Column("rows_held", BigInteger),
    Column("digest", String),
    Column("as_of", DateTime, nullable=False),
    Column("run_id", String, nullable=False),
    Column("recorded_at", DateTime, nullable=False),
)

#: Comparisons of a destination's content with what it should hold.
RECONCILIATIONS = Table(
    "reconciliations",
    METADATA,
    Column("reconciliation_id", String, primary_key=True),
    Column("destination", String, nullable=False),
    Column("view_id", String, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("checked", BigInteger, nullable=False),
    Column("differs", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("extra", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("repaired", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("expected_digest", String, nullable=False),
    Column("run_id", String, nullable=False),
    Column("recorded_at", DateTime, nullable=False),
)
