"""`strata identity …` for decisions: link, split, block, limit, rules, undo, acknowledge.

Belongs here: asking for a decision and showing what was written. Does not belong here: what a decision must be
(`segmentation/identity/rule_book.py`), questions (`identity_questions.py`), or what would follow (`identity_plan.py`).
Every decision is signed, is written together with its row in the audit log, and acts with the next run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, err, hint_table, out, print_json, table
from orchestration.commands.looking import looking
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.identity.catalog import IdentifierRules, load_identifier_rules
from segmentation.identity.drafts import draft_block, draft_limit, draft_link, draft_split
from segmentation.identity.operator_rules import Rule, node_types, published_moment, read_rules
from segmentation.identity.rule_book import (
    Draft,
    Signature,
    acknowledge,
    add_rule,
    end_rule,
    is_pending,
)
from segmentation.identity.rule_words import describe_rule
from segmentation.warehouse import Connection, transaction

Author = Annotated[str, typer.Option("--author", help="Who decides; kept for good.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept for good, so name no person.")]
From = Annotated[
    datetime | None,
    typer.Option(
        "--from", help="First moment, UTC, at which it holds; default: the published one.", formats=["%Y-%m-%d"]
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", help="First moment, UTC, at which it no longer holds.", formats=["%Y-%m-%d"]),
]
Identifiers = Annotated[
    list[str],
    typer.Argument(help="TYPE:VALUE, TYPE@SOURCE:VALUE, node:NUMBER, a value alone, or a customer id for its anchor."),
]


@dataclass(frozen=True, slots=True)
class Decided:
    """A rule with what a person wants to know of it."""

    rule: Rule
    sentence: str
    state: str


def link(
    identifiers: Identifiers,
    author: Author,
    reason: Reason,
    from_: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Say that identifiers, or customers by their anchors, are one customer's."""
    _decide(
        lambda con, rules: draft_link(con, rules, identifiers), Signature(author, reason, now()), from_, until, as_json
    )


def split(
    customer: Annotated[str, typer.Argument(help="Customer id, or any identifier of the customer.")],
    away: Annotated[
        list[str], typer.Option("--away", help="Identifier to take away, or the id of a customer that was merged in.")
    ],
    author: Author,
    reason: Reason,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help="Identifier to keep it apart from; default: the customer's anchor."),
    ] = None,
    from_: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Say that identifiers of one customer are somebody else's: the next run takes them apart.

    Who was merged in gets the former id back.
    """
    _decide(
        lambda con, rules: draft_split(con, rules, customer, away, keep or ()),
        Signature(author, reason, now()),
        from_,
        until,
        as_json,
    )


def block(
    author: Author,
    reason: Reason,
    identifiers: Annotated[list[str] | None, typer.Argument(help="Identifiers that link nobody.")] = None,
    pattern: Annotated[str | None, typer.Option(help="Regular expression over normal forms, instead.")] = None,
    id_type: Annotated[str | None, typer.Option("--type", help="Type that the pattern is about.")] = None,
    from_: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Say that identifiers, or all that match a pattern, link nobody."""
    _decide(
        lambda con, rules: draft_block(con, rules, identifiers or (), id_type, pattern),
        Signature(author, reason, now()),
        from_,
        until,
        as_json,
    )


def limit(
    what: Annotated[str, typer.Argument(help="A type of identifier, or max_nodes for all of a customer's.")],
    value: Annotated[int, typer.Argument(min=1, help="The most there may be.")],
    author: Author,
    reason: Reason,
    per: Annotated[
        str | None, typer.Option("--per", help="Type whose single values may have so many neighbours of the first.")
    ] = None,
    from_: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Say how many identifiers of a type one customer may hold, or one value may be seen with."""
    _decide(
        lambda _con, rules: draft_limit(rules, what, value, per),
        Signature(author, reason, now()),
        from_,
        until,
        as_json,
    )


def undo(
    rule_id: Annotated[str, typer.Argument(help="Name of the rule, such as r12; strata identity rules lists them.")],
    author: Author,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Take a decision back: from the next run on everything is as if it had not been made."""
    settings = Settings.load()
    with deciding(settings) as (con, _rules):
        rule = end_rule(con, rule_id, Signature(author, reason, now()))
        decided = _decided(con, rule)
    _show(decided, as_json=as_json)


def acknowledge_finding(
    truth: Annotated[str, typer.Argument(help="Truth that the gate of identity found not to hold.")],
    author: Author,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Let a finding of the gate hold nothing back: what was seen, and not more."""
    settings = Settings.load()
    with deciding(settings) as (con, _rules):
        done = acknowledge(con, truth, Signature(author, reason, now()))
    if as_json:
        print_json(done)
        return
    lasting = "until it grows beyond that" if done.is_size else "until something is published"
    out.print(f"{done.truth}: {done.value:g} is acknowledged (allowed was {done.allowed:g}), {lasting}", markup=False)
    out.print(hint_table([("strata run --from identity", "publishes what was held back")]))


def rules(
    every: Annotated[bool, typer.Option("--all", help="Show rules that have ended, too.")] = False,
    as_json: Json = False,
) -> None:
    """List what people decided: in force, pending until the next run, or ended. It never waits for a run."""
    settings = Settings.load()
    require_warehouse(settings)
    with looking(settings.warehouse, "the rules", ("identity", "rules")) as sight:
        if sight.copied_at is None:
            ensure_schema(sight.con, "identity")
        # The copy has the published identifiers alone; the live warehouse all that any run met.
        types = "identity.identifiers" if sight.copied_at else "identity.registry"
        found = [_decided(sight.con, rule, types) for rule in read_rules(sight.con)]
    shown = [one for one in found if every or one.state != "ended"]
    if sight.note:
        err.print(Text(sight.note, style="yellow"))
    if as_json:
        print_json([_as_dict(one) for one in shown])
        return
    rows = [
        (one.rule.rule_id, one.state, one.sentence, one.rule.author, one.rule.reason, one.rule.valid_to)
        for one in shown
    ]
    out.print(table(["rule", "state", "what", "author", "reason", "until"], rows))


@contextmanager
def deciding(settings: Settings) -> Iterator[tuple[Connection, IdentifierRules]]:
    """Open the warehouse for one decision: all of it stands, with its row in the audit log, or nothing."""
    catalog = load_identifier_rules(settings.catalog)
    require_warehouse(settings)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        audit.require_whole(con, settings.audit_folder)
        with transaction(con):
            yield con, catalog
        audit.keep_copy(con, settings.audit_folder)


def require_warehouse(settings: Settings) -> None:
    """Refuse to decide about nobody.

    Raises:
        StrataError: No run has been made yet.
    """
    if not settings.warehouse.path.exists():
        raise StrataError("no run has been made yet", where=str(settings.warehouse.path), repair="strata run")


def _decide(
    draft: Callable[[Connection, IdentifierRules], Draft],
    signature: Signature,
    valid_from: datetime | None,
    valid_to: datetime | None,
    as_json: bool,
) -> None:
    with deciding(Settings.load()) as (con, catalog):
        rule = add_rule(con, catalog, draft(con, catalog), signature, valid_from=valid_from, valid_to=valid_to)
        decided = _decided(con, rule)
    _show(decided, as_json=as_json)


def _decided(con: Connection, rule: Rule, identifiers: str = "identity.registry") -> Decided:
    moment = published_moment(con)
    if is_pending(con, rule):
        state = "pending" if rule.ended_by is None else "pending, to end"
    elif rule.holds_at(moment):
        state = "in force"
    else:
        state = "to begin" if rule.valid_from > moment else "ended"
    types = node_types(con, {*rule.nodes, *rule.other_nodes}, identifiers)
    return Decided(rule, describe_rule(rule, types), state)


def _show(decided: Decided, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_dict(decided))
        return
    rule = decided.rule
    out.print(Text(rule.rule_id, style="bold"), Text(decided.sentence))
    out.print(Text(f"  {decided.state}", style="dim"))
    hints = [
        ("strata identity plan", "what the next run will make of it"),
        ("strata run --from identity", "makes it so"),
    ]
    if rule.ended_by is None:
        hints.append((f"strata identity undo {rule.rule_id}", "takes it back"))
    out.print(hint_table(hints))


def _as_dict(decided: Decided) -> dict[str, object]:
    return {**asdict(decided.rule), "state": decided.state, "sentence": decided.sentence}


def register(group: typer.Typer) -> None:
    """Add the commands of this module to ``strata identity``."""
    group.command("link")(link)
    group.command("split")(split)
    group.command("block")(block)
    group.command("limit")(limit)
    group.command("undo")(undo)
    group.command("acknowledge")(acknowledge_finding)
    group.command("rules")(rules)
