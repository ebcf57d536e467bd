"""`strata identity plan`: what decisions and limits would do, before a run makes it so.

Belongs here: the copy of the warehouse that everything is tried on, and showing what was found. Does not belong here:
measuring it (`segmentation/identity/identity_plan.py`, `segmentation/segments/identity_impact.py`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, err, format_money, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.settings import Settings, now
from segmentation.contracts import ensure_schema, latest_candidate
from segmentation.errors import StrataError
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog, load_identity_catalog
from segmentation.identity.drafts import read_draft
from segmentation.identity.identity_plan import IdentityPlan, measure_plan
from segmentation.identity.matching.candidates import Matching, load_matching_in_force
from segmentation.identity.operator_rules import Rule, node_types, read_rules
from segmentation.identity.rule_book import Signature, acknowledge, add_rule, end_rule, is_pending
from segmentation.identity.rule_words import describe_rule
from segmentation.run import Run
from segmentation.segments.identity_impact import (
    RevenueImpact,
    SegmentChange,
    SegmentImpact,
    measure_revenue,
    measure_segments,
    read_changes,
)
from segmentation.warehouse import Connection, Warehouse, transaction

_RUN_ID = "plan"
_SHOWN_EVENTS = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a plan tells.

    Attributes:
        identity: Merges, splits, who moves, what is refused, what the gate would hold.
        sentences: The decisions that it is about, in words, by rule.
        revenue: Orders that would get another customer.
        segments: Members that would leave, or be decided again.
        changes: Who would enter and leave, once segments were decided; ``None`` where nobody asked for it.
    """

    identity: IdentityPlan
    sentences: dict[str, str]
    revenue: RevenueImpact
    segments: tuple[SegmentImpact, ...]
    changes: tuple[SegmentChange, ...] | None


def plan(
    with_rule: Annotated[
        list[str] | None,
        typer.Option("--with-rule", help="A decision to try, as its command: 'link A B', 'undo r7'. Can be repeated."),
    ] = None,
    segments: Annotated[
        bool, typer.Option("--segments", help="Compute features and segments, too: who would enter and leave. Slower.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what pending decisions, and edits of catalog/identifiers.yml, would change. Nothing is changed.

    Everything is tried on a copy of the warehouse, which is gone afterwards.
    """
    settings = Settings.load()
    require_warehouse(settings)
    catalog = load_identity_catalog(settings.catalog)
    with err.status("Planning …"), _scratch(settings) as scratch:
        matching = load_matching_in_force(settings.catalog, settings.matching_models_folder)
        found = _make_plan(scratch, catalog, matching, with_rule or [])
        if segments:
            found = replace(found, changes=_decide_segments(scratch, found))
    if as_json:
        print_json({**asdict(found.identity), **{name: getattr(found, name) for name in Plan.__slots__[1:]}})
        return
    _show(found)


@contextmanager
def _scratch(settings: Settings) -> Iterator[Settings]:
    """Yield the settings of an installation whose warehouse is a copy; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="plan-", dir=settings.data))
    try:
        settings.warehouse.copy_live(folder / settings.warehouse.path.name)
        if (settings.data / "dbt").is_dir():
            # What dbt parsed before need not be parsed again.
            shutil.copytree(settings.data / "dbt", folder / "dbt")
        if settings.matching_models_folder.is_dir():
            shutil.copytree(settings.matching_models_folder, folder / "state" / "matching")
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        yield Settings.load(
            **{**given, "data": folder, "landing": settings.landing_folder, "dagster_home": folder / "home"}
        )
    finally:
        shutil.rmtree(folder)


def _make_plan(scratch: Settings, catalog: IdentityCatalog, matching: Matching | None, texts: list[str]) -> Plan:
    with _open(scratch.warehouse) as con:
        served = latest_candidate(con, "identity", published=True)
        if served is None:
            raise StrataError("nothing has been published to compare with", where="ops.candidates", repair="strata run")
        signature = Signature(_RUN_ID, _RUN_ID, now())
        for text in texts:
            _try(con, catalog, text, signature)
        rules = tuple(rule for rule in read_rules(con) if is_pending(con, rule))
        run = Run(_RUN_ID, served.as_of, now())
        build_candidate(con, run, catalog, matching=matching)
        identity = measure_plan(con, served.as_of, rules)
        types = node_types(con, {node for rule in rules for node in (*rule.nodes, *rule.other_nodes)})
        return Plan(
            identity,
            {rule.rule_id: _sentence(rule, types) for rule in rules},
            measure_revenue(con, run, catalog.rules),
            measure_segments(con),
            None,
        )


@contextmanager
def _open(warehouse: Warehouse) -> Iterator[Connection]:
    with warehouse.write() as con:
        ensure_schema(con, "identity")
        yield con


def _try(con: Connection, catalog: IdentityCatalog, text: str, signature: Signature) -> None:
    draft = read_draft(con, catalog.rules, text)
    with transaction(con):
        if isinstance(draft, str):
            end_rule(con, draft, signature)
        else:
            add_rule(con, catalog.rules, draft, signature)


def _sentence(rule: Rule, types: dict[int, str]) -> str:
    sentence = describe_rule(rule, types)
    return sentence if rule.ended_by is None else f"no longer: {sentence}"


def _decide_segments(scratch: Settings, found: Plan) -> tuple[SegmentChange, ...]:
    """Publish on the copy, compute features, decide segments, and return what identity changed."""
    from orchestration.commands.run import execute

    with _open(scratch.warehouse) as con, transaction(con):
        for one in found.identity.held:
            acknowledge(con, one.truth, Signature(_RUN_ID, _RUN_ID, now()))
    progress, *_ = execute(scratch, ["identity", "features", "segments"], found.identity.as_of, [], quiet=True)
    parts = progress.parts.values()
    with _open(scratch.warehouse) as con:
        failed = [part for part in parts if part.state != "done" and part.name != "segments"]
        if failed:
            raise StrataError(
                f"on the copy, {failed[0].name} ended as {failed[0].state}: {failed[0].message}",
                expected="a chain that runs",
                repair="strata identity plan, without --segments",
            )
        return read_changes(con)


def _show(found: Plan) -> None:
    identity = found.identity
    out.print(Text(f"As of {identity.as_of:%Y-%m-%d %H:%M}, with what is pending:", style="bold"))
    for rule_id, sentence in found.sentences.items():
        out.print(Text(f"  {rule_id}: {sentence}"))
    if not found.sentences:
        out.print("  no decision is pending; what follows comes from the catalog, or from sources loaded since")
    out.print()
    rows: list[tuple[str, object]] = [(f"{event}s", number) for event, number in identity.counts.items() if number]
    rows += [
        ("customers now", identity.customers_before),
        ("customers then", identity.customers_after),
        ("customers moved", identity.customers_moved),
        ("identifiers moved", identity.identifiers_moved),
        ("orders moved", found.revenue.orders_moved),
        ("revenue moved", format_money(found.revenue.revenue_moved_micros)),
    ]
    out.print(table(["what would change", ""], rows))
    if identity.events:
        events = [
            (one.event, one.customer_id, one.other_customer_id, one.n_nodes, one.cause_rule)
            for one in identity.events[:_SHOWN_EVENTS]
        ]
        out.print()
        out.print(table(["event", "customer", "other", "identifiers", "rule"], events))
    if identity.refused:
        refused = [
            (one.rule, one.identifiers_before, one.identifiers_after, one.edges_before, one.edges_after)
            for one in identity.refused
        ]
        out.print()
        header = ["refused by", "identifiers now", "then", "links now", "then"]
        out.print(table(header, refused))
    if found.segments:
        touched = [(one.segment_key, one.members, one.leaving, one.decided_again) for one in found.segments]
        out.print()
        out.print(table(["segment", "members", "ids that give way", "decided again"], touched))
    if found.changes is not None:
        changes = [(one.segment_key, one.entering, one.leaving) for one in found.changes]
        out.print()
        out.print(table(["segment", "entering", "leaving"], changes) if changes else "no segment would change")
    for one in identity.held:
        out.print()
        out.print(
            Text("the gate would hold it back:", style="yellow"),
            Text(f"{one.truth}, {one.value:g} where {one.allowed:g} is allowed"),
        )
    out.print()
    hints = [("strata run --from identity", "makes it so")]
    if found.changes is None:
        hints.insert(0, ("strata identity plan --segments", "who would enter and leave which segment"))
    out.print(hint_table(hints))


def register(group: typer.Typer) -> None:
    """Add the command of this module to ``strata identity``."""
    group.command("plan")(plan)
