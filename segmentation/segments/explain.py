"""Why a customer is in a segment, or is not: the rule clause by clause, and all that overrules it.

Belongs here: putting published facts together for one customer. Does not belong here: deciding
(``decisions.py``) and the truth of clauses (``evaluation.py``). It reads published tables only, so it works on
the readers' copy and says what was decided, not what today's catalog would decide.
"""

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from segmentation.errors import NotFoundError, did_you_mean
from segmentation.segments.canaries import is_in_canary
from segmentation.segments.canary_rows import live_canaries
from segmentation.segments.evaluation import Clause, explain_condition, plain
from segmentation.segments.faults import RuleError
from segmentation.segments.parser import parse_rule
from segmentation.segments.pins import Pin, published_pins
from segmentation.segments.publications import latest_publication
from segmentation.segments.reasons import Circumstances, find_reason
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection, table_exists


@dataclass(frozen=True, slots=True)
class SegmentExplanation:
    """One segment, one customer.

    Attributes:
        segment_key: The segment.
        name: Its name for people.
        segment_version: Version that decided.
        is_member: What is published.
        reason: Why, in one word; see ``reasons.py``.
        sentence: The reason for people.
        since: Moment of entry, for a member.
        owner: Who answers for the segment.
        rule: The rule's text in normal form; ``None`` for a list.
        clauses: The rule's truth, clause by clause.
        consent: Required purpose to whether the customer allows it.
        overrides: Entries of inclusion and exclusion lists for the customer.
        group: Exclusive group with its winner for the customer: of several the one that keeps the customer out, else
            the first; ``None`` outside groups.
        groups: All of its exclusive groups.
        pin: What holds the segment, whatever its rule says; ``None`` where nothing does.
        canary: Of a canary, which version holds for the customer; ``None`` for other segments.
    """

    segment_key: str
    name: str
    segment_version: int
    is_member: bool
    reason: str
    sentence: str
    since: datetime | None
    owner: str
    rule: str | None
    clauses: Clause | None
    consent: dict[str, bool]
    overrides: list[dict[str, object]]
    group: dict[str, object] | None
    pin: Pin | None = None
    canary: dict[str, object] | None = None
    groups: tuple[dict[str, object], ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The explanation as JSON-ready facts."""
        return {
            "segment_key": self.segment_key,
            "name": self.name,
            "segment_version": self.segment_version,
            "is_member": self.is_member,
            "reason": self.reason,
            "sentence": self.sentence,
            "since": plain(self.since),
            "owner": self.owner,
            "rule": self.rule,
            "clauses": self.clauses.as_dict() if self.clauses else None,
            "consent": self.consent,
            "overrides": self.overrides,
            "group": self.group,
            "groups": list(self.groups),
            "canary": self.canary,
            "pin": self.pin and {name: plain(value) for name, value in asdict(self.pin).items()},
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """One customer, with every segment asked for.

    Attributes:
        asked_for: The customer id that was asked for.
        customer_id: The customer it stands for now.
        identity: How the two are related, and which older ids were merged into the customer.
        as_of: Moment that the published membership describes.
        features_as_of: Moment that the feature values describe.
        segments: Members first, then by key.
    """

    asked_for: str
    customer_id: str
    identity: dict[str, object]
    as_of: datetime
    features_as_of: datetime
    segments: list[SegmentExplanation] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The explanation as JSON-ready facts."""
        return {
            "asked_for": self.asked_for,
            "customer_id": self.customer_id,
            "identity": self.identity,
            "as_of": plain(self.as_of),
            "features_as_of": plain(self.features_as_of),
            "segments": [segment.as_dict() for segment in self.segments],
        }


def explain(con: Connection, customer_id: str, segment_key: str | None = None) -> Explanation:
    """Say why a customer is, or is not, in a segment or in each segment.

    Args:
        con: The warehouse or the readers' copy.
        customer_id: A customer id; one that was merged away stands for the customer it was merged into.
        segment_key: The segment; every evaluated segment where it is left out.

    Raises:
        NotFoundError: Nothing is published yet, the segment does not exist, or the customer is unknown. Unknown
            is not "not a member": nothing was decided about such a customer.
    """
    publication = latest_publication(con) if table_exists(con, "segments", "publications") else None
    if publication is None:
        raise NotFoundError("no membership has been published yet", where="segments.publications", repair="strata run")
    facts = _Facts(con, customer_id)
    explanation = Explanation(
        asked_for=customer_id,
        customer_id=facts.customer_id,
        identity=facts.identity,
        as_of=publication.as_of,
        features_as_of=facts.row["as_of"],
    )
    for definition in _definitions(con, segment_key):
        explanation.segments.append(_explain_segment(facts, definition))
    explanation.segments.sort(key=lambda found: (not found.is_member, found.segment_key))
    return explanation


class _Facts:
    """What is published about one customer."""

    def __init__(self, con: Connection, asked_for: str) -> None:
        self.customer_id = _current_id(con, asked_for)
        self.types: dict[str, str] = dict(
            con.execute(
                "select column_name, data_type from information_schema.columns "
                "where table_schema = 'features' and table_name = 'customer_features' "
                "and table_catalog = current_database()"
            ).fetchall()
        )
        found = _rows(con, "select * from features.customer_features where customer_id = ?", self.customer_id)
        if not found:
            raise NotFoundError(
                f"customer {asked_for} is unknown: nothing was decided about them",
                where="features.customer_features",
                expected="an active customer that was seen before the last run",
                repair="strata lookup, or look for the id in identity.customers",
            )
        self.row = found[0]
        self.membership = {
            row["segment_key"]: row
            for row in _rows(con, "select * from segments.membership where customer_id = ?", self.customer_id)
        }
        self.effective = {
            row["group_key"]: row["segment_key"]
            for row in _rows(con, "select * from segments.effective where customer_id = ?", self.customer_id)
        }
        #: Rank by group, by segment.
        self.ranks: dict[str, dict[str, int]] = defaultdict(dict)
        for key, group, rank in con.execute(f"select * from {ranks_sql('segments.catalog')} order by all").fetchall():
            self.ranks[key][group] = rank
        self.parents = dict(con.execute("select group_key, parent_key from segments.groups").fetchall())
        self.overrides = _rows(
            con,
            "select segment_key, side, status, reason, until_date, listed_in from segments.overrides "
            "where customer_id = ? order by all",
            self.customer_id,
        )
        self.account_types, self.accounts = _account_rows(con, self.customer_id, self.row["as_of"])
        self.merged_ids: list[str] = []
        self.identity = self._identity(con, asked_for)
        self.pins = published_pins(con)
        self.canaries = live_canaries(con)
        self.pinned_to = (
            {
                row["pin_id"]
                for row in _rows(
                    con,
                    "select pin_id from segments.pin_members where customer_id in (select unnest($1::varchar[]))",
                    [self.customer_id, *self.merged_ids],
                )
            }
            if self.pins
            else set()
        )

    def deciding_group(self, key: str) -> str | None:
        """Return the group that keeps a claim out: its parent lacks, or another one wins; else the first of all."""
        groups = self.ranks[key]
        lacking = (group for group in groups if self.lacking_parent(group))
        lost = (group for group in groups if self.winner_over(key, group))
        return next(lacking, None) or next(lost, None) or next(iter(groups), None)

    def winner_over(self, key: str, group: str) -> str | None:
        """Return who wins over a segment in one of its groups."""
        winner = self.effective.get(group)
        if winner is None or winner == key:
            return None
        # Beside a segment that is kept out of another group there can be a member that ranks below it.
        orders = [(one not in self.pins, self.ranks[one].get(group, 0), one) for one in (winner, key)]
        return winner if len(self.ranks[key]) == 1 or orders[0] < orders[1] else None

    def lacking_parent(self, group: str | None) -> str | None:
        """Return the group's parent, where the customer is in none of that one's segments."""
        parent = self.parents.get(group)
        return None if parent is None or parent in self.effective else str(parent)

    def by_account(self, rule: str) -> tuple[list[str], Clause | None]:
        """Return the customer's accounts and a rule's truth for the first, which is one where it holds if any is."""
        condition = parse_rule(rule, self.account_types)
        told = [(row["account_id"], explain_condition(condition, row, ())) for row in self.accounts]
        told.sort(key=lambda one: (not one[1].truth, one[0]))
        return [account for account, _ in told], told[0][1] if told else None

    def _identity(self, con: Connection, asked_for: str) -> dict[str, object]:
        merged = self.merged_ids
        if table_exists(con, "identity", "customer_aliases"):
            found = con.execute(
                "select old_customer_id from identity.customer_aliases where customer_id = ? order by 1",
                [self.customer_id],
            ).fetchall()
            merged.extend(row[0] for row in found)
        return {"is_alias": asked_for != self.customer_id, "merged_ids": merged}


def _account_rows(con: Connection, customer_id: str, as_of: datetime) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the types of the features of accounts, and those of the customer's accounts."""
    if not (table_exists(con, "features", "account_features") and table_exists(con, "identity", "customer_accounts")):
        return {}, []
    types = con.execute(
        "select column_name, data_type from information_schema.columns where table_schema = 'features' "
        "and table_name = 'account_features' and table_catalog = current_database()"
    ).fetchall()
    rows = _rows(
        con,
        "select * from features.account_features where account_id in ("
        "select account_id from identity.customer_accounts where customer_id = $1 and valid_from <= $2 "
        "and (valid_to is null or valid_to > $2)) order by account_id",
        customer_id,
        as_of,
    )
    return dict(types), rows


def _current_id(con: Connection, asked_for: str) -> str:
    if not table_exists(con, "identity", "customer_aliases"):
        return asked_for
    found = con.execute(
        "select customer_id from identity.customer_aliases where old_customer_id = ?", [asked_for]
    ).fetchall()
    return str(found[0][0]) if found else asked_for


def _rows(con: Connection, sql: str, *values: object) -> list[dict[str, Any]]:
    cursor = con.execute(sql, list(values))
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _definitions(con: Connection, segment_key: str | None) -> list[dict[str, Any]]:
    found = _rows(con, "select * from segments.catalog order by segment_key")
    if segment_key is None:
        return [row for row in found if row["is_evaluated"]]
    chosen = [row for row in found if row["segment_key"] == segment_key]
    if not chosen:
        known = [row["segment_key"] for row in found]
        raise NotFoundError(
            f"there is no segment {segment_key}{did_you_mean(segment_key, known)}",
            where="segments.catalog",
            expected=", ".join(known),
            repair="strata segments",
        )
    return chosen


def _explain_segment(facts: _Facts, row: dict[str, Any]) -> SegmentExplanation:
    key, definition = row["segment_key"], json.loads(row["definition"])
    purposes, canary, told = row["purposes"], None, ""
    if found := facts.canaries.get(key):
        is_drawn = is_in_canary(key, found.share, facts.customer_id)
        if not is_drawn:
            definition = found.base_definition or _nobody(definition)
        purposes = found.purposes if is_drawn else found.base_purposes
        version = row["segment_version"] if is_drawn else found.base_version
        canary = {"version": version, "is_drawn": is_drawn, "percent": found.percent, "state": found.state}
        holds = f"version {version}" if version is not None else "version, which is nobody's"
        told = f" (canary: {'new' if is_drawn else 'base'} {holds})"
    member = facts.membership.get(key)
    clauses, accounts = None, None
    if definition["entity"] == "account":
        accounts, clauses = facts.by_account(definition["rule"])
    elif definition["rule"] is not None:
        # A feature that is gone leaves nothing to say of the rule: its members stay as they were published.
        with suppress(RuleError):
            condition = parse_rule(definition["rule"], facts.types)
            clauses = explain_condition(condition, facts.row, facts.membership.keys())
    consented = facts.row.get("consented_purposes") or []
    consent = {purpose: purpose in consented for purpose in purposes}
    overrides = [
        {name: plain(value) for name, value in entry.items() if name != "segment_key"}
        for entry in facts.overrides
        if entry["segment_key"] == key
    ]
    groups: dict[str, dict[str, object]] = {
        name: {"group_key": name, "precedence": rank, "winner": facts.effective.get(name)}
        for name, rank in facts.ranks[key].items()
    }
    group_key = facts.deciding_group(key)
    winner = facts.winner_over(key, group_key) if group_key else None
    pin, winning = facts.pins.get(key), facts.pins.get(winner or "")
    reason, sentence = find_reason(
        Circumstances(
            catalog_row=row,
            residency=definition["residency"],
            member_via=member["via"] if member else None,
            clauses=clauses,
            consent=consent,
            sides=frozenset(entry["side"] for entry in overrides if entry["status"] == "applied"),
            region=facts.row.get("residency_region"),
            group=group_key,
            winner=winner,
            lacking_parent=facts.lacking_parent(group_key),
            pin=pin.sentence if pin else None,
            is_pinned_to=pin is not None and pin.pin_id in facts.pinned_to,
            winner_pin=winning.sentence if winning else None,
            accounts=accounts,
            is_unreadable=clauses is None and accounts is None and definition["rule"] is not None,
        )
    )
    return SegmentExplanation(
        segment_key=key,
        name=row["name"],
        segment_version=row["segment_version"],
        is_member=member is not None,
        reason=reason,
        sentence=f"{sentence}{told}",
        since=member["entered_at"] if member else None,
        owner=row["owner"],
        rule=definition["rule"],
        clauses=clauses,
        consent=consent,
        overrides=overrides,
        group=groups.get(group_key or ""),
        groups=tuple(groups.values()),
        pin=pin,
        canary=canary,
    )


def _nobody(definition: dict[str, Any]) -> dict[str, Any]:
    """Return the definition of a segment that nobody is in."""
    return {**definition, "rule": "false", "residency": []}
