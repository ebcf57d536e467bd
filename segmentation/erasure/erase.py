"""Forgetting one customer in the warehouse: all of it in one transaction, or nothing.

Belongs here: the order of the steps. Does not belong here: what is outside the warehouse (`places.py`).
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.erasure.derived_rows import forget_derived_rows
from segmentation.erasure.parts import suppress_wholes
from segmentation.erasure.requests import DEADLINE, Erasure, Sink, record_request, record_sinks
from segmentation.erasure.source_rows import forget_source_rows
from segmentation.erasure.subject import Subject, gather, suppress
from segmentation.errors import StrataError
from segmentation.identity.catalog import IdentifierRules
from segmentation.pseudonyms import PseudonymKey
from segmentation.warehouse import Connection, literal, transaction

_TEMPORARY = ("erased_customers", "erased_nodes", "erased_values", "erased_files", "erased_parts")


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for.

    Attributes:
        customer_id: The customer, by the active id.
        author: Who asks.
        reason: Why, such as a ticket.
        at: When, UTC.
    """

    customer_id: str
    author: str
    reason: str
    at: datetime


def preview(con: Connection, rules: IdentifierRules, customer_id: str) -> dict[str, int]:
    """Say what erasing a customer would delete, and change nothing."""
    # A warehouse of an older version may lack tables that are asked.
    ensure_schema(con, "identity")
    con.execute("begin transaction")
    try:
        subject = gather(con, rules, customer_id)
        counts = forget_source_rows(con, rules)
        files = len(_landed_files(con))
    finally:
        con.execute("rollback")
    return {"identifiers": subject.n_identifiers, "former_ids": len(subject.former_ids), **counts, "files": files}


def erase(con: Connection, rules: IdentifierRules, key: PseudonymKey, request: Request) -> Erasure:
    """Delete a customer from every table, and keep only what recognises the identifiers when they are sent again.

    Args:
        con: The warehouse, open for writing, no run at work.
        rules: Give the priority of identifiers and the namespaces that sources share.
        key: Key of the suppressions.
        request: Whom, who, why and when.

    Returns:
        The request as recorded; places outside the warehouse are ``received``.

    Raises:
        StrataError: The customer has nothing to erase.
    """
    ensure_schema(con, "identity")
    erasure_id = f"erasure-{secrets.token_hex(6)}"
    with transaction(con):
        subject = gather(con, rules, request.customer_id)
        if not subject.n_identifiers:
            raise StrataError(
                f"{request.customer_id} has no identifiers: there is nothing to erase",
                where="identity.identifier_map",
                expected="an active customer's id",
                repair="strata erasures shows what was erased before",
            )
        suppress(con, key, erasure_id, request.reason, request.at)
        counts: dict[str, object] = dict(forget_source_rows(con, rules))
        wholes = f"(select *, {literal(erasure_id)} as erasure_id from erased_parts)"
        suppress_wholes(con, key, wholes, request.reason, request.at)
        landed = _landed_files(con)
        counts |= {
            f"{schema}_rows_deleted": n for schema, n in forget_derived_rows(con, erasure_id, request.at).items()
        }
        erasure = _record(con, request, key, subject, erasure_id, counts, landed)
        for table in _TEMPORARY:
            con.execute(f"drop table if exists {table}")
    return erasure


def _landed_files(con: Connection) -> list[str]:
    """Return the files that still hold the customer: they are their source's, not ours to change."""
    rows = con.execute(
        "select distinct path from sources.files where file_id in (select file_id from erased_files) order by path"
    ).fetchall()
    return [str(row[0]) for row in rows]


def _record(
    con: Connection,
    request: Request,
    key: PseudonymKey,
    subject: Subject,
    erasure_id: str,
    counts: dict[str, object],
    landed: list[str],
) -> Erasure:
    sinks = (
        Sink("catalog", "received", {}),
        Sink("exports", "received", {}),
        Sink("landing", "partial" if landed else "finished", {"files": landed}),
        Sink("readers", "received", {}),
        Sink("sync", "received", {}),
        Sink("warehouse", "suppressed", counts),
    )
    erasure = Erasure(
        erasure_id=erasure_id,
        customer_id=subject.customer_id,
        former_ids=subject.former_ids,
        n_identifiers=subject.n_identifiers,
        author=request.author,
        reason=request.reason,
        key_id=key.key_id,
        requested_at=request.at,
        due_at=request.at + DEADLINE,
        sinks=sinks,
    )
    record_request(con, erasure)
    record_sinks(con, erasure_id, sinks, request.at)
    audit.append(
        con,
        at=request.at,
        actor=request.author,
        action="customer.erase",
        subject=subject.customer_id,
        detail={"erasure_id": erasure_id, "reason": request.reason, "identifiers": subject.n_identifiers},
    )
    return erasure
