"""The one reason why a customer is in a segment or is not, in words.

Belongs here: which of several circumstances decided. Does not belong here: collecting them (``explain.py``).

Reasons are ``rule``, ``include``, ``exclude``, ``consent``, ``residency``, ``pin`` (people hold the segment, whatever
its rule says), ``group`` (another segment of the exclusive group won), ``parent`` (in no segment of the parent group),
``rule_false``, ``not_listed``, ``account`` (inherited from one), ``no_account`` (there is none to inherit from),
``kept`` (its rule reads a feature that is gone, so who was in it stays), ``not_evaluated`` (draft, retired or expired)
and ``pending`` (features changed since membership was published).
"""

from dataclasses import dataclass
from typing import Any

from segmentation.segments.evaluation import Clause, plain

Reason = tuple[str, str]

_PENDING = "the features changed since, the next run decides"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that bears on one customer's membership of one segment.

    Attributes:
        catalog_row: The segment's row of ``segments.catalog``.
        residency: Regions whose residents may be members; empty for all.
        member_via: Way in, for a member; ``None`` for others.
        clauses: The rule's truth; ``None`` without rule.
        consent: Required purpose to whether the customer allows it.
        sides: Lists that name the customer: ``include``, ``exclude``.
        region: The customer's residency region.
        group: The exclusive group that decides; of several, one that keeps the customer out.
        winner: The segment that wins over it there.
        lacking_parent: The parent group, where the customer is in none of its segments.
        pin: What holds the segment, in words; ``None`` where its rule decides.
        is_pinned_to: Whether that holds the customer.
        winner_pin: What holds the winner, in words.
        is_unreadable: Whether its rule names a feature that is gone.
        accounts: Of a segment of accounts, the customer's accounts, first the one that ``clauses`` are about.
    """

    catalog_row: dict[str, Any]
    residency: list[str]
    member_via: str | None
    clauses: Clause | None
    consent: dict[str, bool]
    sides: frozenset[object]
    region: str | None
    group: str | None
    winner: str | None
    lacking_parent: str | None
    pin: str | None = None
    is_pinned_to: bool = False
    winner_pin: str | None = None
    accounts: list[str] | None = None
    is_unreadable: bool = False


def find_reason(found: Circumstances) -> Reason:
    """Return the reason as a word and as a sentence: the strongest circumstance that applies."""
    barrier = _barrier(found)
    if found.pin is not None:
        return _pinned(found, found.pin, barrier)
    if found.is_unreadable:
        # While its rule can't be read, that is what decides, but for what keeps customers out anyway.
        state = "is a member" if found.member_via is not None else "is not a member"
        return barrier or ("kept", f"{state} because the rule names a feature that is gone: who was in it stays")
    claims = "include" in found.sides or (found.clauses is not None and found.clauses.truth)
    if found.member_via is not None:
        return _inside(found, decided=claims and barrier is None)
    return barrier or (_outside(found) if claims else _unclaimed(found))


def _pinned(found: Circumstances, pin: str, barrier: Reason | None) -> Reason:
    if found.member_via is not None:
        return "pin", f"is a member because the segment is {pin}"
    if barrier or not found.is_pinned_to:
        return barrier or ("pin", f"is not a member because the segment is {pin}")
    return _outside(found)


def _inside(found: Circumstances, *, decided: bool) -> Reason:
    if not decided:
        return "pending", f"is a member as published; {_PENDING}"
    if found.member_via == "include":
        return "include", "is a member because an inclusion list names the customer"
    if found.accounts:
        return "account", f"is a member, inherited from account {found.accounts[0]}, for which the rule holds"
    return "rule", "is a member because the rule holds"


def _unclaimed(found: Circumstances) -> Reason:
    if found.accounts is not None:
        return _uninherited(found.accounts, found.clauses)
    if found.clauses is None:
        return "not_listed", "is not a member because no list names the customer"
    return "rule_false", f"is not a member because this does not hold: {_first_failure(found.clauses)}"


def _uninherited(accounts: list[str], clauses: Clause | None) -> Reason:
    if not accounts or clauses is None:
        return "no_account", "is not a member because the customer belongs to no account"
    failure = _first_failure(clauses)
    whose = f"account {accounts[0]}" if len(accounts) == 1 else f"any of its accounts, for one {accounts[0]}"
    return "rule_false", f"is not a member because this does not hold for {whose}: {failure}"


def _outside(found: Circumstances) -> Reason:
    if found.lacking_parent is not None:
        return "parent", f"is not a member because the customer is in no segment of the group {found.lacking_parent}"
    if found.winner and found.winner_pin and not found.pin:
        text = f"is not a member because {found.winner} of the exclusive group {found.group} is {found.winner_pin}"
        return "group", text
    if found.winner:
        return "group", f"is not a member because {found.winner} ranks higher in the exclusive group {found.group}"
    return "pending", f"is not a member as published; {_PENDING}"


def _barrier(found: Circumstances) -> Reason | None:
    """Return what keeps the customer out whatever the rule and the inclusion lists say."""
    row = found.catalog_row
    if not row["is_evaluated"]:
        state = "expired" if row["lifecycle"] in {"canary", "active", "deprecated"} else row["lifecycle"]
        return "not_evaluated", f"has no members: the segment is {state}"
    lacking = [purpose for purpose, allowed in found.consent.items() if not allowed]
    if lacking:
        return "consent", f"is not a member because consent to {', '.join(lacking)} is missing"
    if found.residency and found.region not in found.residency:
        return "residency", f"is not a member because the residency region is {found.region or 'unknown'}"
    if "exclude" in found.sides and found.pin is None:
        return "exclude", "is not a member because an exclusion list names the customer"
    return None


def _first_failure(clause: Clause) -> str:
    """Return the text of the clause that keeps the customer out, with the values that it read."""
    if clause.joined_by == "and":
        return _first_failure(next(child for child in clause.children if not child.truth))
    if clause.joined_by == "or":
        return clause.text
    values = ", ".join(
        f"{name} is {'missing' if value is None else plain(value)}" for name, value in clause.values.items()
    )
    return f"{clause.text} ({values})" if values else clause.text
