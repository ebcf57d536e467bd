"""The state of segments: who was in which segment, when and why; exported at every publish, and brought back.

Belongs here: the tables whose loss would make the next run log everybody as entering, and forget everything before.
Does not belong here: candidates and masks, which follow from them, and how exports work (`state_exports.py`).
"""

from pathlib import Path

from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.run import Run
from segmentation.segments.publications import latest_publication
from segmentation.state_exports import State
from segmentation.warehouse import Connection, scalar

#: What is live, what the next run compares it with, and everything that ever was.
STATE_TABLES = (
    "publications",
    "catalog",
    "groups",
    "versions",
    "overrides",
    "membership",
    "effective",
    "conflicts",
    "account_membership",
    "membership_changes",
    "membership_history",
    "sizes_daily",
    "approvals",
    "policies",
    "held_changes",
    "pins",
    "pin_members",
    "publication_segments",
    "canaries",
    "backfill_days",
    "backfills",
)

#: Those of them whose rows are about one customer.
_PERSONAL = (
    "overrides",
    "membership",
    "effective",
    "conflicts",
    "membership_changes",
    "membership_history",
    "pin_members",
    "backfills",
)

_STATE = State("segments", "membership and its history", STATE_TABLES, ("masks", "places"))


def export_state(con: Connection, folder: Path, run: Run, *, keep: int = 2) -> Path:
    """Write the published state to a folder of its own below ``folder``; see ``State.export``."""
    return _STATE.export(con, folder, run, keep=keep)


def restore_state(con: Connection, folder: Path) -> dict[str, int]:
    """Bring the state back from an export, or from the newest one in ``folder``; see ``State.restore``.

    Who was erased since the export was made does not come back with it.

    Raises:
        StrataError: Identity in the warehouse is older than the export, or another one, so that its customers would
            be unknown.
    """
    ensure_schema(con, "identity")

    def check() -> None:
        last = latest_publication(con)
        newest = int(str(scalar(con, "select coalesce(max(seq), 0) from identity.events")))
        if last and last.identity_event_seq > newest:
            raise StrataError(
                f"membership was decided on identity event {last.identity_event_seq}; the warehouse knows {newest}",
                where=str(folder),
                expected="the identity state of the same run, or a newer one",
                repair="strata restore identity, then strata restore segments",
            )
        strangers = con.execute(
            "select distinct customer_id from segments.membership anti join identity.customers using (customer_id) "
            "order by 1"
        ).fetchall()
        if strangers:
            raise StrataError(
                f"membership names {len(strangers)} customers whom identity does not know, such as {strangers[0][0]}",
                where=str(folder),
                expected="the identity state of the same warehouse",
                repair="strata restore identity, with the --folder that belongs to this one, "
                "then strata restore segments",
            )
        _forget_erased(con)

    return _STATE.restore(con, folder, check)


def _forget_erased(con: Connection) -> None:
    for table in _PERSONAL:
        con.execute(
            f"delete from segments.{table} "
            "where customer_id in (select customer_id from identity.customers where status = 'erased')"
        )
