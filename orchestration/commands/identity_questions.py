"""`strata identity show` and `strata identity why`: questions to published identity.

Belongs here: asking and showing. Does not belong here: the answers (`segmentation/identity`), or decisions
(`identity_steward.py`). Both read the readers' copy, so they never wait for a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.profile_view import profile_table
from orchestration.settings import Settings
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.dossier import Dossier, open_dossier
from segmentation.identity.evidence_paths import Answer, Evidence, Place, explain_pair, read_places
from segmentation.identity.explain import resolve_customer
from segmentation.identity.operator_rules import node_types, read_rules
from segmentation.identity.references import PUBLISHED, find_nodes
from segmentation.identity.rule_words import describe_rule
from segmentation.warehouse import Connection, table_exists

_SHOWN = "TYPE:VALUE, node:NUMBER, a value alone, or a customer id"


def show(
    customer: Annotated[str, typer.Argument(help=f"{_SHOWN}, current or former.")],
    as_json: Json = False,
) -> None:
    """Show one customer: identifiers and evidence, what was refused and why, history, decisions of people."""
    settings = Settings.load()
    rules = load_identifier_rules(settings.catalog)
    with _reading(settings) as con:
        try:
            customer_id = resolve_customer(con, customer, providers=rules.email_providers)
        except NotFoundError:
            [node] = find_nodes(con, rules, [(customer, "argument")], PUBLISHED)
            place = read_places(con, [node], {rule.rule_id: rule for rule in read_rules(con)})[node]
            if place.customer_id is None:
                _show_nobodys(place, as_json=as_json)
                return
            customer_id = place.customer_id
        dossier = open_dossier(con, customer_id)
        nodes = {node for rule in dossier.rules for node in (*rule.nodes, *rule.other_nodes)}
        types = node_types(con, nodes, PUBLISHED.identifiers)
    if as_json:
        print_json(dossier)
        return
    _show_dossier(dossier, types)


def why(
    one: Annotated[str, typer.Argument(help=f"{_SHOWN}, which stands for its anchor.")],
    other: Annotated[str, typer.Argument(help="The other one.")],
    as_json: Json = False,
) -> None:
    """Say why two identifiers are one customer, or what keeps them apart: the shortest path of evidence."""
    settings = Settings.load()
    rules = load_identifier_rules(settings.catalog)
    with _reading(settings) as con:
        nodes = find_nodes(con, rules, [(one, "first argument"), (other, "second argument")], PUBLISHED)
        answer = explain_pair(con, nodes[0], nodes[1])
    if as_json:
        print_json(answer)
        return
    _show_answer(answer)


@contextmanager
def _reading(settings: Settings) -> Iterator[Connection]:
    """Open the readers' copy; one of an older version knows nothing of people's decisions.

    Raises:
        StrataError: Nothing has been published by this version yet.
    """
    with settings.warehouse.read() as con:
        if not (table_exists(con, "identity", "rules") and table_exists(con, "identity", "profile_conflicts")):
            raise StrataError(
                "the readers' copy is of an older version",
                where=str(settings.warehouse.published_path),
                expected="a copy with identity.rules and identity.profile_conflicts",
                repair="strata run",
            )
        yield con


def _show_nobodys(place: Place, *, as_json: bool) -> None:
    if as_json:
        print_json(place)
        return
    out.print(_named(place), Text(place.status, style="yellow"), "belongs to nobody")
    if place.status_reason:
        out.print(Text(f"  {place.status_reason}"))


def _show_dossier(dossier: Dossier, types: dict[int, str]) -> None:
    out.print(Text(dossier.customer_id, style="bold"), f"since {dossier.created_at}, match {dossier.match_basis}")
    if dossier.former_ids:
        out.print(Text(f"formerly also {', '.join(dossier.former_ids)}", style="dim"))
    rows = [
        (
            one.id_type,
            one.id_value + (f" ({one.id_namespace})" if one.id_namespace else ""),
            "anchor" if one.is_anchor else "",
            one.first_seen_at,
            one.last_seen_at,
            "; ".join(one.evidence[:2]),
        )
        for one in dossier.identifiers
    ]
    header = ["identifier", "value", "", "first seen", "last seen", "evidence"]
    out.print(table(header, rows, title="Identifiers"))
    if dossier.profile:
        out.print()
        out.print(profile_table(dossier.profile))
    if dossier.refused:
        refused = [
            (f"{one.inside.id_type} {one.inside.id_value}", f"{one.outside.id_type} {one.outside.id_value}", one.reason)
            for one in dossier.refused
        ]
        out.print()
        title = f"Evidence that joined nothing ({dossier.refused_count:,})"
        out.print(table(["identifier", "with", "because"], refused, title=title))
    events = [
        (one.effective_at, one.event, one.customer_id, one.other_customer_id, one.n_nodes, one.cause_rule)
        for one in dossier.events
    ]
    out.print()
    out.print(table(["as of", "event", "customer", "other", "identifiers", "rule"], events, title="History"))
    if dossier.rules:
        told = [(one.rule_id, describe_rule(one, types), one.author, one.reason) for one in dossier.rules]
        out.print()
        out.print(table(["rule", "what", "author", "reason"], told, title="Decisions of people"))


def _show_answer(answer: Answer) -> None:
    start, end = answer.start, answer.end
    if answer.is_one_customer:
        out.print(Text("one customer", style="green"), Text(str(start.customer_id), style="bold"))
    else:
        out.print(Text("not one customer", style="yellow"))
        for place in (start, end):
            whose = f"is {place.customer_id}" if place.customer_id else f"is nobody's, {place.status}"
            out.print(
                Text("  "), _named(place), Text(whose + (f": {place.status_reason}" if place.status_reason else ""))
            )
    for separation in answer.separations:
        out.print(Text(f"  kept apart by {separation}"))
    if not answer.steps:
        if start != end:
            out.print("  no evidence connects them: no source saw identifiers of the one with identifiers of the other")
        return
    out.print()
    out.print(_named(start))
    for step in answer.steps:
        for one in step.evidence:
            out.print(_evidence(one))
        out.print(_named(step.end))
    if answer.is_one_customer:
        out.print()
        command = f"strata identity split {start.customer_id} --keep node:{start.node_id} --away node:{end.node_id}"
        out.print(hint_table([(command, "takes them apart, with --author and --reason")]))


def _named(place: Place) -> Text:
    namespace = f" of {place.id_namespace}" if place.id_namespace else ""
    shown = Text(f"{place.id_type}{namespace} {place.id_value}", style="bold")
    return shown + Text(f" (node:{place.node_id})", style="dim")


def _evidence(one: Evidence) -> Text:
    if one.first_seen_at.date() == one.last_seen_at.date():
        seen = f"{one.first_seen_at:%Y-%m-%d}"
    else:
        seen = f"{one.first_seen_at:%Y-%m-%d} to {one.last_seen_at:%Y-%m-%d}"
    times = "once" if one.n_obs == 1 else f"{one.n_obs:,} times"
    mark = Text("  ✓ ", style="green") if one.admitted else Text("  ✗ ", style="red")
    if one.match_probability is not None:
        times = f"{one.match_probability:.2%} ({one.match_weight:.1f} bits)"
    told = Text(f"{one.source}: {one.evidence}, tier {one.tier}, {times}, {seen}")
    return mark + told + Text(f"   refused: {one.reason}" if one.reason else "", style="red")


def register(group: typer.Typer) -> None:
    """Add the commands of this module to ``strata identity``."""
    group.command("show")(show)
    group.command("why")(why)
