"""`strata segments`, `strata explain` and `strata lookup`: questions about segments and customers."""

import shlex
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, format_cell, format_money, out, print_json, table
from orchestration.commands.profile_view import profile_table
from orchestration.commands.segment_history import At, KnownAt, explain_at
from orchestration.commands.segment_summary import summarise_segments
from orchestration.settings import Settings, now
from segmentation.errors import NotFoundError
from segmentation.segments.evaluation import Clause
from segmentation.segments.explain import SegmentExplanation
from segmentation.warehouse import Connection, table_exists

Customer = Annotated[
    str, typer.Argument(help="Customer id, a former one, or any identifier: an e-mail address, or TYPE:VALUE.")
]


def segments(
    json_logic: Annotated[
        str | None,
        typer.Option(
            metavar="SEGMENT", help="Print a segment as flagd targeting (JSONLogic) for edges, always as JSON."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the segments: owner, size, changes of the last run, cost."""
    settings = Settings.load()
    if json_logic is not None:
        _print_targeting(settings, json_logic)
        return
    with settings.warehouse.read() as con:
        found = summarise_segments(con)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.segment_key,
            one.segment_version,
            ", ".join(one.groups),
            one.owner,
            one.members,
            one.entered,
            one.exited,
            format_money(one.cost_micros),
            format_money(one.cost_per_member_micros),
            one.pin_id or "",
        )
        for one in found
    ]
    header = ["segment", "version", "group", "owner", "members", "entered", "left", "cost", "per member", "held by"]
    out.print(table(header, rows))
    for one in found:
        if one.canary:
            out.print(Text(f"{one.segment_key}: {one.canary}", style="yellow"))


def _print_targeting(settings: Settings, key: str) -> None:
    from segmentation.features.contract import load_contract
    from segmentation.segments.catalog import load_catalog
    from segmentation.segments.edge_targeting import edge_targeting
    from segmentation.segments.kinds import kind_of

    contract = load_contract(settings.dbt_project)
    catalog = load_catalog(settings.catalog, contract)
    kinds = {name: kind_of(column_type) for name, column_type in contract.types.items()}
    print_json(edge_targeting(key, catalog.segments, catalog.groups, kinds))


def lookup(
    customer: Customer,
    destination: Annotated[str, typer.Option(help="Online store to ask, by its name in the catalog.")] = "online_store",
    as_json: Json = False,
) -> None:
    """Ask the online store what runtime systems are told about a customer.

    The store knows customer ids; an identifier is first looked up in the readers' copy.
    Exit code 0: known. 5: unknown, which is not "not a member".
    """
    from assets.sync import read_destinations
    from segmentation.sync.catalog import SqlDestination
    from segmentation.sync.lookup import lookup as ask

    settings = Settings.load()
    stores = {one.name: one for one in read_destinations(settings) if isinstance(one, SqlDestination)}
    if destination not in stores:
        raise NotFoundError(
            f"there is no online store {destination!r}",
            where=str(settings.catalog / "destinations.yml"),
            expected=", ".join(stores),
        )
    asked, hint = _find_customer(settings, customer)
    answer = ask(stores[destination].url, asked, now(), destination=destination)
    if as_json:
        print_json(answer.as_dict() | {"asked_for": customer, "hint": hint})
    else:
        style = {"known": "green", "stale": "yellow"}.get(answer.status, "red")
        out.print(Text(answer.status, style=style), Text(answer.customer_id or answer.asked_id, style="bold"))
        if answer.segments is not None:
            rows = [(key, version) for key, version in sorted(answer.segments.items())]
            out.print(table(["segment", "version"], rows) if rows else "in no segment")
        out.print(
            f"as of {answer.as_of}, delivered {answer.delivered_at}, "
            f"{answer.staleness_seconds} s old of at most {answer.max_staleness_seconds} s, position {answer.seq}",
            style="dim",
        )
        if hint:
            out.print(Text(hint))
    if answer.segments is None:
        raise typer.Exit(NotFoundError.exit_code)


def _find_customer(settings: Settings, text: str) -> tuple[str, str]:
    """Return the customer id to ask a store for, and what to say where an identifier leads to none."""
    # Ids begin so; what the store does not know of them is for the store to say.
    if text.strip().startswith("c_"):
        return text.strip(), ""
    if not settings.warehouse.published_path.exists():
        return text, "the store knows customer ids alone, and nothing is published to find one by: strata run"
    with settings.warehouse.read() as con:
        try:
            return _resolve(con, settings, text), ""
        except NotFoundError as error:
            return text, f"{error.what}; blocked and shared ones are told by: strata identity show {shlex.quote(text)}"


def _resolve(con: Connection, settings: Settings, text: str) -> str:
    """Return the customer that a text names: an id, a value, or an identifier with its type.

    Raises:
        NotFoundError: Nobody is known by it.
        StrataError: Several identifiers have the value.
    """
    from segmentation.identity.catalog import load_identifier_rules
    from segmentation.identity.explain import find_owner, resolve_customer
    from segmentation.identity.references import PUBLISHED, find_nodes, is_typed

    if not is_typed(text):
        return resolve_customer(con, text)
    [node] = find_nodes(con, load_identifier_rules(settings.catalog), [(text, "argument")], PUBLISHED)
    return find_owner(con, node, text)


def explain(
    customer: Customer,
    segment: Annotated[str | None, typer.Argument(help="Segment key; default: every segment.")] = None,
    at: At = None,
    known_at: KnownAt = None,
    as_json: Json = False,
) -> None:
    """Say why a customer is in a segment or not: rule, values, version, overrides, consent, identity."""
    if at is not None or known_at is not None:
        settings = Settings.load()
        with settings.warehouse.read() as con:
            explain_at(con, _resolve(con, settings, customer), segment, at, known_at, as_json=as_json)
        return
    from segmentation.identity.explain import customer_identifiers, stated_values
    from segmentation.segments.explain import explain as why

    settings = Settings.load()
    with settings.warehouse.read() as con:
        customer_id = _resolve(con, settings, customer)
        identifiers = customer_identifiers(con, customer_id)
        profile = stated_values(con, customer_id) if table_exists(con, "identity", "profile_conflicts") else []
        explanation = why(con, customer_id, segment)
    if as_json:
        print_json({**explanation.as_dict(), "identifiers": identifiers, "profile": profile})
        return
    out.print(Text(customer_id, style="bold"), f"as of {explanation.as_of:%Y-%m-%d %H:%M}")
    merged = explanation.identity.get("merged_ids")
    if merged:
        out.print(Text(f"formerly also {merged}", style="dim"))
    rows = [
        (
            one.id_type,
            f"{one.id_value} ({one.id_namespace})" if one.id_namespace else one.id_value,
            one.last_seen_at,
            "; ".join(one.evidence[:2]),
        )
        for one in identifiers
    ]
    out.print(table(["identifier", "value", "last seen", "evidence"], rows, title="Who"))
    if profile:
        out.print()
        out.print(profile_table(profile))
    out.print()
    if segment is None:
        facts = [(one.segment_key, one.is_member, one.since, one.sentence) for one in explanation.segments]
        out.print(table(["segment", "member", "since", "because"], facts, title="Segments"))
        out.print("\nstrata explain CUSTOMER SEGMENT shows the rule, clause by clause.", style="dim")
        return
    for one in explanation.segments:
        _show_segment(one)


def _show_segment(one: SegmentExplanation) -> None:
    verdict = Text("member", style="green") if one.is_member else Text("not a member", style="red")
    out.print(Text(one.segment_key, style="bold"), verdict, f"version {one.segment_version}, owner {one.owner}")
    out.print(Text(f"  {one.sentence}"))
    if one.clauses:
        _show_clause(one.clauses, 1)
    for purpose, allowed in one.consent.items():
        out.print(Text(f"  consent to {purpose}: {'yes' if allowed else 'no'}"))
    for override in one.overrides:
        out.print(Text("  list entry: " + ", ".join(f"{name} {value}" for name, value in override.items())))
    if one.group:
        out.print(Text("  group: " + ", ".join(f"{name} {value}" for name, value in one.group.items() if value)))


def _show_clause(clause: Clause, depth: int) -> None:
    mark = Text("✓ " if clause.truth else "✗ ", style="green" if clause.truth else "red")
    values = ", ".join(f"{name} = {format_cell(value)}" for name, value in clause.values.items())
    text = f"{clause.joined_by} of:" if clause.joined_by else clause.text
    out.print(Text("  " * depth) + mark + Text(text) + Text(f"   {values}" if values else "", style="dim"))
    for child in clause.children:
        _show_clause(child, depth + 1)
