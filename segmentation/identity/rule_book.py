"""Writing decisions down: adding a rule, ending one, acknowledging a finding; each with its row in the audit log.

Belongs here: what must be so before a decision stands, and the two rows that record it. Does not belong here: what a
rule does (`operator_rules.py`), or asking people (the command line). Nothing is published here: decisions act with the
next run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from segmentation import audit
from segmentation.errors import NotFoundError, StrataError, did_you_mean
from segmentation.identity.acknowledgements import Acknowledgement
from segmentation.identity.acknowledgements import acknowledge as write_acknowledgement
from segmentation.identity.catalog import IdentifierRules, pattern_fault
from segmentation.identity.contradictions import require_consistent
from segmentation.identity.decisions import MAX_IDENTIFIERS
from segmentation.identity.operator_rules import (
    Rule,
    catalog_rules,
    node_types,
    published_moment,
    read_rules,
    write_rules,
)
from segmentation.warehouse import Connection, scalar

#: Something that looks like an e-mail address: a reason is kept for good, and names nobody.
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_MAX_TEXT = 500
_MIN_MAX_NODES = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person wants decided; the fields are those of `operator_rules.Rule`."""

    kind: str
    id_type: str | None = None
    other_type: str | None = None
    nodes: tuple[int, ...] = ()
    other_nodes: tuple[int, ...] = ()
    pattern: str | None = None
    limit_value: int | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """Who decides, why, and when."""

    author: str
    reason: str
    at: datetime


def add_rule(
    con: Connection,
    rules: IdentifierRules,
    draft: Draft,
    signature: Signature,
    *,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> Rule:
    """Write a rule to ``identity.rules`` and to the audit log, in the caller's transaction.

    Args:
        con: The warehouse, open for writing.
        rules: The catalog, whose own decisions must not contradict the new one.
        draft: The rule.
        signature: Who, why, when.
        valid_from: First moment at which it holds; by default the moment that is published, so that a run of that
            moment, made again, heeds it.
        valid_to: First moment at which it no longer does.

    Raises:
        ContradictionError: It can't hold together with the others; nothing is written.
        StrataError: It says something that can't be meant, or the same as a rule in force.
    """
    rule = propose_rule(con, draft, signature, valid_from=valid_from, valid_to=valid_to)
    known = read_rules(con)
    _require_new(rule, known)
    require_together(con, rules, [*_own(known), rule], signature.at)
    entry = audit.append(
        con,
        at=signature.at,
        actor=signature.author,
        action=f"identity.{rule.kind}",
        subject=rule.rule_id,
        detail=_told(rule),
    )
    if entry.seq != rule.decision_seq:
        raise StrataError(f"rule {rule.rule_id} would be recorded as row {entry.seq}", where="ops.audit_log")
    write_rules(con, [rule], "identity.rules")
    return rule


def propose_rule(
    con: Connection,
    draft: Draft,
    signature: Signature,
    *,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    number: int | None = None,
) -> Rule:
    """Return the rule that a draft would become, checked by itself; nothing is written.

    Raises:
        StrataError: It says something that can't be meant.
    """
    begin = valid_from or published_moment(con)
    if valid_to is not None and valid_to <= begin:
        raise _refused(f"the rule would end ({valid_to}) before it begins ({begin})", "--until after --from")
    _check_draft(draft)
    check_words(con, signature, (*draft.nodes, *draft.other_nodes))
    # A decision bears the number of its row in the audit log, which never starts anew: no name is given twice.
    seq = audit.next_seq(con) if number is None else number
    return Rule(
        rule_id=f"r{seq}",
        decision_seq=seq,
        origin="steward",
        kind=draft.kind,
        id_type=draft.id_type,
        other_type=draft.other_type,
        nodes=tuple(sorted(set(draft.nodes))),
        other_nodes=tuple(sorted(set(draft.other_nodes))),
        pattern=draft.pattern,
        limit_value=draft.limit_value,
        author=signature.author,
        reason=signature.reason,
        valid_from=begin,
        valid_to=valid_to,
        recorded_at=signature.at,
    )


def end_rule(con: Connection, rule_id: str, signature: Signature) -> Rule:
    """Take a rule back from the published moment on, in the caller's transaction; what it did before stays history.

    Raises:
        NotFoundError: There is no such rule.
        StrataError: It has ended, or the catalog holds it.
    """
    known = {one.rule_id: one for one in read_rules(con)}
    rule = known.get(rule_id)
    if rule is None:
        raise NotFoundError(
            f"there is no rule {rule_id}{did_you_mean(rule_id, known)}",
            where="identity.rules",
            expected="the name of a rule in force",
            repair="strata identity rules",
        )
    if rule.origin == "catalog":
        raise StrataError(
            f"{rule_id} is a decision of the catalog",
            where="catalog/identifiers.yml, decisions",
            expected="a rule of a command",
            repair=f"remove {rule_id} from the file, then strata run --from identity",
        )
    now = published_moment(con)
    if rule.valid_to is not None and rule.valid_to <= now:
        raise _refused(f"{rule_id} ended at {rule.valid_to}", "a rule in force")
    check_words(con, signature, (*rule.nodes, *rule.other_nodes))
    ended = replace(
        rule,
        valid_to=max(rule.valid_from, now),
        ended_by=signature.author,
        ended_reason=signature.reason,
        decision_seq=audit.next_seq(con),
    )
    audit.append(
        con,
        at=signature.at,
        actor=signature.author,
        action="identity.undo",
        subject=rule_id,
        detail={"reason": signature.reason, "valid_to": f"{ended.valid_to}"},
    )
    con.execute("delete from identity.rules where rule_id = ?", [rule_id])
    write_rules(con, [ended], "identity.rules")
    return ended


def acknowledge(con: Connection, truth: str, signature: Signature) -> Acknowledgement:
    """Acknowledge what the gate held the newest candidate back for, in the caller's transaction.

    Raises:
        NotFoundError: The truth can't be acknowledged, or there is no candidate.
        StrataError: The truth holds already.
    """
    check_words(con, signature, ())
    done = write_acknowledgement(
        con,
        truth,
        author=signature.author,
        reason=signature.reason,
        at=signature.at,
        acknowledgement_seq=audit.next_seq(con),
    )
    audit.append(
        con,
        at=signature.at,
        actor=signature.author,
        action="identity.acknowledge",
        subject=truth,
        detail={"candidate": done.candidate_id, "value": f"{done.value:g}", "reason": signature.reason},
    )
    return done


def is_pending(con: Connection, rule: Rule) -> bool:
    """Say whether no publication knows of a rule, or of its end, yet."""
    known = scalar(
        con,
        "select max(decision_seq) from identity.publications where publication_seq = "
        "(select max(publication_seq) from identity.publications)",
    )
    return rule.origin != "catalog" and (known is None or rule.decision_seq > int(str(known)))


def require_together(con: Connection, rules: IdentifierRules, known: Sequence[Rule], recorded_at: datetime) -> None:
    """Refuse rules that contradict each other at the published moment or at any later one.

    Raises:
        ContradictionError: With the shortest path that shows it.
    """
    every = [*catalog_rules(con, rules, recorded_at), *known]
    now = published_moment(con)
    types = node_types(con, {node for one in every for node in (*one.nodes, *one.other_nodes)})
    for moment in sorted({now, *(one.valid_from for one in every if one.valid_from > now)}):
        in_force = [one for one in every if one.holds_at(moment)]
        require_consistent(in_force, types, "identity.rules, identifiers.yml")


def check_words(con: Connection, signature: Signature, nodes: Sequence[int]) -> None:
    """Refuse an author or a reason that says nothing, or that names a person by an identifier.

    Raises:
        StrataError: With what to write instead.
    """
    for name, text in (("author", signature.author), ("reason", signature.reason)):
        if not text.strip() or len(text) > _MAX_TEXT:
            raise _refused(f"the {name} has {len(text.strip())} characters", f"1 to {_MAX_TEXT}")
    if _ADDRESS.search(signature.reason):
        raise _refused("the reason names an e-mail address", "a ticket or a case: the audit log names nobody")
    if not nodes:
        return
    values = con.execute(
        f"select id_value from identity.registry where node_id in ({', '.join(map(str, nodes))})"
    ).fetchall()
    if any(value.lower() in signature.reason.lower() for (value,) in values):
        raise _refused("the reason names an identifier", "a ticket or a case: the audit log names nobody")


def _own(known: Sequence[Rule]) -> list[Rule]:
    return [one for one in known if one.origin != "catalog"]


def _check_draft(draft: Draft) -> None:
    sides = (draft.nodes, draft.other_nodes)
    if max(map(len, sides)) > MAX_IDENTIFIERS:
        raise _refused(f"{max(map(len, sides))} identifiers on one side", f"at most {MAX_IDENTIFIERS}")
    if draft.kind == "must_link" and len(set(draft.nodes)) == 1:
        raise _refused("it links an identifier with itself", "two identifiers, or the ids of two customers")
    if shared := set(draft.nodes) & set(draft.other_nodes):
        raise _refused(f"node:{min(shared)} is on both sides", "identifiers to keep, and others to take away")
    if draft.pattern is not None and (fault := pattern_fault(draft.pattern)):
        raise _refused(f"{draft.pattern!r} is not a regular expression", fault)
    if draft.limit_value is not None and draft.limit_value < (_MIN_MAX_NODES if draft.kind == "max_nodes" else 1):
        raise _refused(f"{draft.limit_value} is no limit for {draft.kind}", "a larger number")
    if draft.kind == "degree_limit" and draft.id_type == draft.other_type:
        raise _refused(f"{draft.other_type} can't be limited per {draft.id_type}", "another type")


def _require_new(rule: Rule, known: Sequence[Rule]) -> None:
    what = ("kind", "id_type", "other_type", "nodes", "other_nodes", "pattern", "limit_value")
    for one in known:
        same = all(getattr(one, name) == getattr(rule, name) for name in what)
        if same and one.holds_at(rule.valid_from) and one.valid_to in {None, rule.valid_to}:
            raise _refused(f"{one.rule_id} says the same", "a decision that nobody has made yet")


def _told(rule: Rule) -> dict[str, object]:
    """Return a rule's facts for the audit log: node ids, types and limits, never a value."""
    facts = {
        "id_type": rule.id_type,
        "other_type": rule.other_type,
        "nodes": list(rule.nodes),
        "other_nodes": list(rule.other_nodes),
        "limit": rule.limit_value,
        "reason": rule.reason,
        "valid_from": f"{rule.valid_from}",
        "valid_to": f"{rule.valid_to}" if rule.valid_to else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, [])}


def _refused(what: str, expected: str) -> StrataError:
    return StrataError(f"the decision is refused: {what}", where="identity.rules", expected=expected)
