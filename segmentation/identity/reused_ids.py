"""Sources that give one id to several people, one after the other: seen by records that have nothing in common.

Belongs here: noticing it. Does not belong here: what follows; whether it is a correction or somebody else, only people
can tell, who block or split the identifiers (`rule_book.py`).
"""

from segmentation.run import Run
from segmentation.warehouse import Connection, scalar, table_exists

#: What two records of one person have in common at least once.
_TELLING = ("first_name", "last_name", "email")


def count_reused(con: Connection, run: Run) -> int:
    """Return how many source customer ids have records that differ in first name, last name and e-mail.

    Case makes no difference, and a record that leaves one of them out tells nothing. Few ids have several records:
    only those are compared.
    """
    if not table_exists(con, "sources", "customer_records"):
        return 0
    filled = " and ".join(f"nullif(trim({name}), '') is not null" for name in _TELLING)
    differ = " and ".join(f"min(lower(trim({name}))) <> max(lower(trim({name})))" for name in _TELLING)
    found = scalar(
        con,
        "with crowded as (select hash(source, source_customer_id) as key_hash from sources.customer_records "
        "where updated_at <= $as_of group by all having count(*) > 1) "
        "select count(*) from (select source, source_customer_id from sources.customer_records "
        "where updated_at <= $as_of and hash(source, source_customer_id) in (select key_hash from crowded) "
        f"and {filled} group by all having {differ})",
        {"as_of": run.as_of},
    )
    return int(str(found))
