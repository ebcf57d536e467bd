"""Inclusion and exclusion lists that name an erased customer: in published definitions, and in the catalog's files.

Belongs here: recognising an entry, blanking it in what was recorded, and saying where the files still have it. Does
not belong here: customers that lists were resolved to (`derived_rows.py` deletes their rows). The files are people's
own and under their version control: where one still names the customer the place stays ``partial``, and the next
publication would record the name again, so the erasure is looked at again once the entry is out.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segmentation.erasure.requests import Erasure, Sink
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import find_mailbox
from segmentation.identity.normalise import NORMALISERS
from segmentation.pseudonyms import PseudonymKey
from segmentation.segments.catalog import load_catalog
from segmentation.segments.kinds import Contract, TypedFeatures
from segmentation.segments.lists import Listing
from segmentation.warehouse import Connection, quote

#: Between the parts of a text that is hashed, as `subject.suppressed_hash` writes it.
_BETWEEN = "\x1f"
_SIDES = ("include", "exclude")
#: What stands for the reason that somebody wrote.
_REASON = "its customer was erased"


class Recogniser:
    """Knows an erased customer by ids of ours and by the keyed hashes of what identified them.

    Args:
        con: The warehouse.
        erasure: Whom to recognise.
        key: Key of the erasure's suppressions.
        rules: Give namespaces, providers of mailboxes and the country of phone numbers that name none.
    """

    def __init__(self, con: Connection, erasure: Erasure, key: PseudonymKey, rules: IdentifierRules) -> None:
        self.customer_id = erasure.customer_id
        self._customers = frozenset(erasure.customer_ids)
        self._key = key
        self._rules = rules
        hashes = con.execute(
            "select value_hmac from identity.suppressions where erasure_id = ?", [erasure.erasure_id]
        ).fetchall()
        self._hashes = frozenset(row[0] for row in hashes)
        regions = con.execute("select distinct region from identity.normalised_values where region <> ''").fetchall()
        self._regions = sorted({rules.default_region, *(row[0] for row in regions)})

    def names(self, customer_id: str | None, id_type: str | None, namespace: str, value: str | None) -> bool:
        """Say whether an entry of a list, by a customer's id or by an identifier, is the erased customer's."""
        if customer_id is not None:
            return customer_id in self._customers
        if id_type is None or value is None:
            return False
        owner = ""
        if self._rules.identifiers[id_type].scope == "source":
            owner = self._rules.shared_namespaces.get(namespace, namespace)
        return any(
            self._key.hash(_BETWEEN.join((id_type, owner, normal))) in self._hashes
            for normal in self._normal_forms(id_type, value)
        )

    def _normal_forms(self, id_type: str, value: str) -> Iterable[str]:
        # A number that names no country is the customer's in whatever country it may be read.
        for region in self._regions if id_type == "phone" else ("",):
            normal = NORMALISERS[id_type](value, region).id_value
            if normal is not None:
                yield normal
                if id_type == "email":
                    yield find_mailbox(normal, self._rules.email_providers)


def forget_in_definitions(con: Connection, recogniser: Recogniser) -> int:
    """Blank the customer's entries in the lists of every definition that was ever recorded; return how many.

    An entry stays as one of the id of ours, which nobody has any more: a definition that was live must be one that can
    be brought back, and a hybrid without entries is none. It keeps its hash, too, which tells the version that it was.
    """
    gone = 0
    for table, column in _definition_columns(con):
        name = f"segments.{quote(table)}"
        rows = con.execute(
            f"select rowid, {quote(column)}::varchar from {name} where {quote(column)} is not null "
            f"and (json_array_length({quote(column)}, '$.include') > 0 "
            f"or json_array_length({quote(column)}, '$.exclude') > 0)"
        ).fetchall()
        for row, text in rows:
            definition = json.loads(text)
            blanked = {
                side: [_blank(one, recogniser) for one in definition[side]] for side in _SIDES if definition.get(side)
            }
            changed = sum(
                one != was for side, held in blanked.items() for one, was in zip(held, definition[side], strict=True)
            )
            if changed:
                con.execute(
                    f"update {name} set {quote(column)} = ?::json where rowid = ?",
                    [json.dumps(definition | blanked, ensure_ascii=False), row],
                )
                gone += changed
    return gone


def _blank(entry: dict[str, Any], recogniser: Recogniser) -> dict[str, Any]:
    named = entry.get("identifier") or {}
    if not recogniser.names(
        entry.get("customer"), named.get("type"), str(named.get("namespace") or ""), named.get("value")
    ):
        return entry
    return entry | {"customer": recogniser.customer_id, "identifier": None, "reason": _REASON}


def look_at_catalog(recogniser: Recogniser, folder: Path, contract: Contract | TypedFeatures, blanked: int) -> Sink:
    """Say which entries of the catalog's lists still name the customer; what was recorded of them is gone.

    Args:
        recogniser: Knows the customer.
        folder: The catalog folder.
        contract: Feature name to column type.
        blanked: Entries of recorded definitions that were.

    Raises:
        CatalogProblems: The catalog has errors, so nobody can say what it lists.
    """
    catalog = load_catalog(folder, contract)
    listings = [listing for segment in catalog.segments.values() for listing in segment.listings]
    left = sorted({listing.listed_in for listing in listings if _is_listed(listing, recogniser)})
    return Sink("catalog", "partial" if left else "finished", {"entries_blanked": blanked, "entries": left})


def _is_listed(listing: Listing, recogniser: Recogniser) -> bool:
    return recogniser.names(listing.customer_id, listing.id_type, listing.id_namespace, listing.id_value)


def _definition_columns(con: Connection) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = con.execute(
        "select c.table_name, c.column_name from duckdb_columns() as c join duckdb_tables() as t "
        "on t.schema_name = c.schema_name and t.table_name = c.table_name and t.database_name = c.database_name "
        "where c.database_name = current_database() and not t.temporary and c.schema_name = 'segments' "
        "and c.column_name in ('definition', 'base_definition') order by all"
    ).fetchall()
    return rows
