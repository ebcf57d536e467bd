"""Recomputing who was in a segment on past days: features of each day by the same models, in a copy of the warehouse.

Belongs here: the order of the work, the copy and its end. Does not belong here: what decides a day
(`segmentation/segments/backfill_evaluation.py`), keeping what was found (`segmentation/segments/backfill_days.py`), or
asking for it (`orchestration/commands/backfill.py`, `assets/segment_backfills.py`).

The warehouse is held for as long as it takes to copy it, once, and to write each day's members; what takes time happens
in the copy. A day is kept as soon as it is computed, so that a backfill that was stopped goes on with the next one.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date

from dagster_dbt import DbtProject

from orchestration.dbt_build import build_models
from orchestration.dbt_project import load_project, target_folder
from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError, WarehouseBusyError
from segmentation.features.candidate import build_candidate
from segmentation.features.contract import load_contract
from segmentation.features.publish import publish
from segmentation.identity.catalog import IdentityCatalog, load_identity_catalog
from segmentation.identity.past_facts import keep_present, restate_facts
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.segments.backfill_days import COPY, TABLES, Asked, Kept, ask, end_of, keep_day, list_days
from segmentation.segments.backfill_evaluation import check_features, clear_copy, decide_day, forget_candidates
from segmentation.segments.backfill_scope import choose_scope
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, Warehouse, literal

#: Longer than any step of a run holds the warehouse.
_PATIENCE_SECONDS = 3600

#: Steps at which tests stop a backfill, beside those of keeping a day.
STEPS = ("copied", "features", "decided", "kept")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks to have recomputed.

    Attributes:
        segments: Keys of the segments.
        first: The first day.
        last: The last day.
        author: Who asks.
        reason: Why.
        version: A recorded version of the one segment; ``None`` for the live ones.
        renew: Whether days done on older data are computed again.
    """

    segments: tuple[str, ...]
    first: date
    last: date
    author: str
    reason: str
    version: int | None = None
    renew: bool = False


@dataclass(slots=True)
class Outcome:
    """What a backfill did.

    Attributes:
        days_asked: Days that were asked for.
        versions: Version that decided, by segment.
        kept: The days that had to be computed, in order.
    """

    days_asked: int
    versions: dict[str, int]
    kept: list[Kept] = field(default_factory=list)


def check_request(con: Connection, settings: Settings, request: Request) -> Asked:
    """Return what a request means.

    Args:
        con: The warehouse, or a scratch database over the readers' copy.
        settings: The installation.
        request: The request.

    Raises:
        NotFoundError: There is no such segment or version.
        StrataError: The days or the version can't be meant.
    """
    days = list_days(con, request.first, request.last)
    scope = choose_scope(con, settings.catalog, load_contract(settings.dbt_project), request.segments, request.version)
    return Asked(scope, days, request.renew)


def backfill(
    settings: Settings,
    request: Request,
    run_id: str,
    tell: Callable[[str], None],
    at_step: Callable[[str], None] | None = None,
) -> Outcome:
    """Compute the days of a request that are missing, one after the other, and show readers what was found.

    Args:
        settings: The installation.
        request: What is asked for.
        run_id: Who writes.
        tell: Takes a sentence about each day.
        at_step: Called with the name of each step when it is done, for tests that interrupt it.

    Raises:
        StrataError: The request can't be met, or a day can't be computed; days before it are kept.
        WarehouseBusyError: Another backfill is at work, or the warehouse is held for too long.
    """
    step = at_step or (lambda _name: None)
    signature = Signature(request.author, request.reason, now())
    with _alone(settings):
        with settings.warehouse.write() as con:
            ensure_schema(con, "identity")
            ensure_schema(con, "segments")
            asked = check_request(con, settings, request)
            audit.require_whole(con, settings.audit_folder)
            missing = ask(con, asked, signature, run_id)
            audit.keep_copy(con, settings.audit_folder)
        outcome = Outcome(len(asked.days), {one.segment_key: one.segment_version for one in asked.scope.subjects})
        if not missing:
            return outcome
        project = load_project(settings)
        catalog = load_identity_catalog(settings.catalog)
        try:
            with _copy(settings) as past:
                seq = _prepare(past)
                step("copied")
                for number, day in enumerate(missing, start=1):
                    run = Run(run_id, end_of(day), now())
                    digest = _compute(past, project, catalog, run, asked, step)
                    kept = _keep(settings, past, asked, run, digest, signature, seq, step)
                    outcome.kept.append(kept)
                    sizes = ", ".join(f"{key} {members:,}" for key, members in kept.members.items())
                    tell(f"{day} ({number} of {len(missing)}): {sizes}")
        finally:
            if outcome.kept:
                with _patient(settings).write() as con:
                    settings.warehouse.renew_in_copy(con, TABLES)
        return outcome


def _prepare(past: Settings) -> int:
    """Make a copy ready for past moments; return the newest publication that it knows of."""
    with past.warehouse.write() as con:
        last = latest_publication(con)
        clear_copy(con)
        keep_present(con)
    return last.seq if last else 0


def _compute(
    past: Settings,
    project: DbtProject,
    catalog: IdentityCatalog,
    run: Run,
    asked: Asked,
    step: Callable[[str], None],
) -> str:
    """Decide one day in the copy; return the digest of its features."""
    contract = load_contract(past.dbt_project)
    with past.warehouse.write() as con:
        forget_candidates(con)
        restate_facts(con, run, catalog)
    call = build_models(past, run, project, target_folder(past) / "backfill", ["--selector", "features"])
    if call.exit_code:
        raise StrataError(
            f"features as of {run.as_of} can't be built: " + "\n".join(call.errors),
            where=str(project.project_dir),
            expected="models and data tests that hold on every day",
            repair="correct what dbt names, then ask for the same days again: days before this one are kept",
        )
    with past.warehouse.write() as con:
        build_candidate(con, run, contract)
        check_features(con, run)
        publish(con, run)
        step("features")
        digest = decide_day(con, run, asked.scope)
    step("decided")
    return digest


def _keep(
    settings: Settings,
    past: Settings,
    asked: Asked,
    run: Run,
    digest: str,
    signature: Signature,
    seq: int,
    step: Callable[[str], None],
) -> Kept:
    with _patient(settings).write() as con:
        con.execute(f"attach {literal(str(past.warehouse.path))} as {COPY} (read_only)")
        kept = keep_day(con, asked, run, digest, signature, publication_seq=seq, at_step=step)
    step("kept")
    return kept


def _patient(settings: Settings) -> Warehouse:
    """Return the warehouse for who has computed a whole day, and can wait for a step of a run to end."""
    return replace(settings.warehouse, lock_wait_seconds=max(settings.lock_wait_seconds, _PATIENCE_SECONDS))


@contextmanager
def _copy(settings: Settings) -> Iterator[Settings]:
    """Yield the settings of an installation whose warehouse is a copy; both are gone afterwards."""
    folder = settings.backfill_folder
    # What a killed backfill left. Nobody else works there: its lock is ours.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        settings.warehouse.copy_live(folder / settings.warehouse.path.name)
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        yield Settings.load(**{**given, "data": folder, "landing": settings.landing_folder})
    finally:
        shutil.rmtree(folder)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Let one backfill work on a data folder at a time; `strata run` is not kept waiting."""
    path = settings.data / "backfill.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WarehouseBusyError(
                "another backfill is at work",
                where=str(path),
                expected="one backfill at a time; it can be for several segments",
                repair="wait for it to end: strata backfill --list shows how far it is after the next run",
            ) from None
        yield
