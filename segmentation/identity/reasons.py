"""Reasons of refusals, kept beside the rules that refused.

Belongs here: finding the words for the rules that a candidate applied. Does not belong here: the words
(`rule_words.py`), or applying rules (`guards.py`, `admission.py`).
"""

import pyarrow as pa

from segmentation.identity.operator_rules import read_rules
from segmentation.identity.rule_words import explain_refusal
from segmentation.warehouse import Connection

_SCHEMA = pa.schema([("rule", pa.string()), ("reason", pa.string())])


def write_reasons(con: Connection) -> None:
    """Write temporary table ``reasons(rule, reason)``: each rule in ``excluded`` and ``links`` once."""
    people = {rule.rule_id: rule for rule in read_rules(con)}
    found = con.execute(
        "select status_rule from excluded where status_rule is not null union "
        "select reject_rule from links where reject_rule is not null order by 1"
    ).fetchall()
    told = [{"rule": rule, "reason": explain_refusal(rule, people)} for (rule,) in found]
    con.register("reasons_found", pa.Table.from_pylist(told, schema=_SCHEMA))
    con.execute("create or replace temp table reasons as select * from reasons_found")
    con.unregister("reasons_found")
