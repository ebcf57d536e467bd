"""`strata erase` and `strata erasures`: forgetting a customer, and the proof of it.

Belongs here: the order of the work over all places, and showing it. Does not belong here: what forgetting means in
each (`segmentation/erasure`). The warehouse forgets in one transaction; every other place can be done again, so a
killed erasure is gone on with by its id.
"""

import shutil
from collections.abc import Callable
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.commands.run import execute, no_other_run, one_run
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema, latest_candidate
from segmentation.erasure import places
from segmentation.erasure.catalog_lists import Recogniser, forget_in_definitions, look_at_catalog
from segmentation.erasure.erase import Request, preview
from segmentation.erasure.erase import erase as erase_customer
from segmentation.erasure.requests import Erasure, Sink, find_request, read_requests, record_sinks
from segmentation.errors import StrataError
from segmentation.features.contract import load_contract
from segmentation.identity.catalog import load_identifier_rules
from segmentation.identity.explain import resolve_customer
from segmentation.pseudonyms import load_key
from segmentation.run import Run
from segmentation.sync.catalog import load_destinations
from segmentation.sync.left_places import find_left
from segmentation.warehouse import Connection, transaction

_STYLES = {"finished": "green", "running": "yellow", "partial": "yellow", "failed": "red", "not_supported": "red"}


def erase(
    customer: Annotated[
        str | None, typer.Argument(help="Customer id, a former one, or any identifier, such as an e-mail address.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, such as a ticket; kept, so name no person.")] = "",
    author: Annotated[str, typer.Option("--author", help="Who asks; kept.")] = "",
    resume: Annotated[str | None, typer.Option("--resume", help="Go on with this erasure.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it can't be undone.")] = False,
    as_json: Json = False,
) -> None:
    """Forget a customer everywhere: sources, identity, features, membership, destinations, exports, files.

    What a source sends again is recognised by a keyed hash and dropped. Exit code 1: a place is not finished yet.
    """
    settings = Settings.load()
    require_warehouse(settings)
    if (customer is None) == (resume is None):
        raise StrataError(
            "either a customer or --resume is needed",
            expected="strata erase CUSTOMER --reason TICKET --author NAME, or strata erase --resume ERASURE",
            repair="strata erase --help",
        )
    if customer is not None and dry_run:
        _preview(settings, customer, as_json=as_json)
        return
    with one_run(settings), no_other_run(settings, "a customer is forgotten"):
        if resume is None and customer is not None:
            erasure_id = _forget(settings, customer, reason, author, ask=not (yes or as_json))
        else:
            erasure_id = str(resume)
        _forget_in_places(settings, erasure_id, quiet=as_json)
    _show(settings, erasure_id, as_json=as_json)


def erasures(
    erasure: Annotated[str | None, typer.Argument(help="Show the receipt of this one.")] = None,
    as_json: Json = False,
) -> None:
    """List erasures and how far they are, or show the receipt of one; neither holds personal data."""
    settings = Settings.load()
    require_warehouse(settings)
    if erasure is not None:
        _show(settings, erasure, as_json=as_json)
        return
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        known = read_requests(con)
    if as_json:
        print_json([one.receipt() for one in known])
        return
    rows = [(one.erasure_id, one.customer_id, _styled(one.state), one.requested_at, one.due_at) for one in known]
    out.print(table(["erasure", "customer", "state", "requested", "due"], rows))


def _preview(settings: Settings, customer: str, *, as_json: bool) -> None:
    rules = load_identifier_rules(settings.catalog)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        customer_id = resolve_customer(con, customer, providers=rules.email_providers)
        counts = preview(con, rules, customer_id)
    if as_json:
        print_json({"customer_id": customer_id, **counts})
        return
    out.print(Text(customer_id, style="bold"), "would be forgotten; nothing has been changed")
    out.print(table(["what", "count"], [(name.replace("_", " "), value) for name, value in counts.items()]))


def _forget(settings: Settings, customer: str, reason: str, author: str, *, ask: bool) -> str:
    if not reason.strip() or not author.strip():
        raise StrataError(
            "an erasure is signed: --reason and --author are missing",
            expected="--reason TICKET --author NAME",
            repair="strata erase CUSTOMER --reason TICKET --author NAME",
        )
    rules = load_identifier_rules(settings.catalog)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        customer_id = resolve_customer(con, customer, providers=rules.email_providers)
        if ask and not typer.confirm(f"Forget {customer_id} everywhere? This can't be undone", err=True):
            raise typer.Abort
        key = load_key(settings.keys_folder, "suppression")
        request = Request(customer_id, author.strip(), reason.strip(), now())
        return erase_customer(con, rules, key, request).erasure_id


def _forget_in_places(settings: Settings, erasure_id: str, *, quiet: bool) -> None:
    """Do what is outside the warehouse's rows: each place by itself, and again where it was done before."""
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        erasure = find_request(con, erasure_id)
        served = latest_candidate(con, "identity", published=True)
        moment = now()
        run = Run(run_id=erasure_id, as_of=served.as_of if served else moment, recorded_at=moment)
        catalog = _attempt("catalog", lambda: _forget_in_catalog(settings, con, erasure))
        exports = _attempt(
            "exports",
            lambda: places.renew_exports(
                con, settings.identity_state_folder, settings.segments_state_folder, settings.audit_folder, run
            ),
        )
        _record(con, erasure_id, [catalog, exports], run)
    sinks = [_attempt("readers", lambda: _deliver(settings, quiet=quiet))]
    destinations = load_destinations(settings.catalog / "destinations.yml", {"data": str(settings.data)})
    sinks += places.forget_at_destinations(destinations, erasure)
    sinks += [places.forget_at_left(one, erasure) for one in find_left(settings.sync_state, destinations)]
    with settings.warehouse.write() as con:
        sinks.append(_attempt("sync", lambda: places.forget_in_sync(con, settings.sync_state, erasure)))
        sinks.append(places.look_at_landing(settings.landing_folder, erasure))
        _record(con, erasure_id, sinks, run)
    # What a killed backfill left; none is at work, because no run is.
    shutil.rmtree(settings.backfill_folder, ignore_errors=True)
    logs = [settings.data / "logs", settings.data / "dbt"]
    forgotten = _attempt("warehouse", lambda: places.forget_in_files(settings.warehouse, logs))
    with settings.warehouse.write() as con:
        _record(con, erasure_id, [forgotten], run)


def _forget_in_catalog(settings: Settings, con: Connection, erasure: Erasure) -> Sink:
    """Take the customer out of what was recorded of lists, and say which of the catalog's files still name them."""
    ensure_schema(con, "segments")
    purpose, _, version = erasure.key_id.rpartition("-v")
    key = load_key(settings.keys_folder, purpose, version=int(version))
    recogniser = Recogniser(con, erasure, key, load_identifier_rules(settings.catalog))
    with transaction(con):
        blanked = forget_in_definitions(con, recogniser)
    return look_at_catalog(recogniser, settings.catalog, load_contract(settings.dbt_project), blanked)


def _attempt(name: str, step: Callable[[], Sink]) -> Sink:
    """Let a place that fails keep no other one from forgetting."""
    try:
        return step()
    except StrataError as error:
        return Sink(name, "failed", {"error": error.what})


def _record(con: Connection, erasure_id: str, sinks: list[Sink], run: Run) -> None:
    with transaction(con):
        record_sinks(con, erasure_id, sinks, run.recorded_at)


def _deliver(settings: Settings, *, quiet: bool) -> Sink:
    """Tell the destinations, and make the marts and the readers' copy anew."""
    progress, run_id, _, _ = execute(settings, ["sync", "marts"], None, [], quiet=quiet)
    failed = [part for part in progress.parts.values() if part.state != "done"]
    if failed:
        message = "; ".join(
            f"{part.name}: {part.message.splitlines()[0] if part.message else part.state}" for part in failed
        )
        return Sink("readers", "failed", {"run_id": run_id, "error": message})
    return Sink("readers", "finished", {"run_id": run_id})


def _show(settings: Settings, erasure_id: str, *, as_json: bool) -> None:
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        erasure = find_request(con, erasure_id)
        entries = [entry for entry in audit.read_log(con) if entry.detail.get("erasure_id") == erasure_id]
    receipt = erasure.receipt() | {"audit_hash": entries[-1].hash if entries else None}
    if as_json:
        print_json(receipt)
    else:
        _print_receipt(erasure, receipt)
    if erasure.state not in ("finished", "partial"):
        raise typer.Exit(1)


def _print_receipt(erasure: Erasure, receipt: dict[str, object]) -> None:
    out.print(Text(erasure.erasure_id, style="bold"), _styled(erasure.state), f"customer {erasure.customer_id}")
    rows = [
        (sink.name, _styled(sink.state), ", ".join(f"{name} {value}" for name, value in sink.detail.items()))
        for sink in erasure.sinks
    ]
    out.print(table(["place", "state", "what"], rows))
    out.print(f"due {erasure.due_at:%Y-%m-%d}, audit {str(receipt['audit_hash'])[:16]}…")
    hints = [(f"strata erasures {erasure.erasure_id} --json", "the receipt, to hand out")]
    if erasure.state != "finished":
        hints.append((f"strata erase --resume {erasure.erasure_id}", "look again, once the places above are repaired"))
    out.print(hint_table(hints))


def _styled(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))
