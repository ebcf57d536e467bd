"""`strata validate` and `strata check-source`: what a catalog or a file would do, before it does."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.settings import Settings, now
from segmentation.errors import CatalogError, CatalogProblem, CatalogProblems
from segmentation.sources.check import FileCheck
from segmentation.sync.catalog import DestinationBase


def find_problems(settings: Settings, *, overlaps: bool = False) -> list[CatalogProblem]:
    """Return every problem in the catalog, over all of its files.

    Args:
        settings: Where the catalog is.
        overlaps: Say also which rules contain or overlap others; that is information, nothing to repair.
    """
    from segmentation.identity.catalog import load_identifier_rules
    from segmentation.identity.matching.catalog import load_matching
    from segmentation.identity.profile_rules import load_profile_rules
    from segmentation.identity.purposes import load_purposes
    from segmentation.sources.mapping import load_mappings

    folder = settings.catalog
    problems: list[CatalogProblem] = []

    def check(load: Callable[[], object]) -> None:
        try:
            load()
        except CatalogProblems as error:
            problems.extend(error.problems)
        except CatalogError as error:
            problems.append(_problem(error))

    known: list[str] = []
    check(lambda: known.extend(load_purposes(folder).by_name))
    check(lambda: load_mappings(folder / "sources", known_purposes=known or None))
    check(lambda: load_identifier_rules(folder))
    check(lambda: load_profile_rules(folder))
    check(lambda: load_matching(folder, models=settings.matching_models_folder))
    for segment_check in _segment_checks(settings, problems, overlaps=overlaps):
        check(segment_check)
    # Several stages read purposes: what is wrong with them is told once.
    told: dict[tuple[str, int, str], CatalogProblem] = {}
    for problem in problems:
        told.setdefault((Path(problem.file).name, problem.line, problem.what), problem)
    return list(told.values())


def _segment_checks(settings: Settings, problems: list[CatalogProblem], *, overlaps: bool) -> list[Callable[[], None]]:
    """Return the checks of segments and of all that names them, in order; they add to ``problems``, or raise."""
    from segmentation.costs.pools import check_segments, load_pools
    from segmentation.features.contract import load_contract
    from segmentation.segments.catalog import read_catalog
    from segmentation.segments.compiled import CatalogSegment
    from segmentation.segments.policy import check_policy, check_quota, guarded_segments, load_policy
    from segmentation.segments.rule_checks import check_rules
    from segmentation.segments.tombstones import check_tombstones, published_files, read_tombstones
    from segmentation.segments.usages import Usage, check_departures, usages_in_catalog
    from segmentation.sync import catalog as destinations

    folder = settings.catalog
    segments: dict[str, CatalogSegment] = {}
    usages: list[Usage] = []
    keys = {path.stem for path in (folder / "segments").glob("*.y*ml")}

    def check_segment_files() -> None:
        contract = load_contract(settings.dbt_project)
        catalog, found = read_catalog(folder, contract, now().date())
        segments.update(catalog.segments)
        usages.extend(usages_in_catalog(catalog.segments, catalog.groups))
        problems.extend(found)
        problems.extend(check_rules(catalog, contract.types, contract.required, overlaps=overlaps))

    def check_guards() -> None:
        policy = load_policy(folder)
        live = [key for key, segment in segments.items() if segment.definition.is_evaluated]
        usages.extend(Usage(*guarded) for guarded in guarded_segments(folder, policy))
        problems.extend([*check_policy(folder, policy, keys), *check_quota(folder, policy, live)])

    def check_pools() -> None:
        pools = load_pools(folder / "cost_pools.yml")
        named = pools.named_segments.items()
        usages.extend(Usage(key, "a cost pool", pools.where(place)) for key, place in named)
        check_segments(pools, keys)

    def check_destinations() -> None:
        from assets.sync import read_destinations

        found = read_destinations(settings)
        usages.extend(Usage(*usage) for one in found for usage in destinations.listed_segments(one))
        problems.extend(destinations.find_disagreements(found, segments.values()))
        problems.extend(_places_left(settings, found))
        destinations.check_segments(found, sorted(keys))

    def check_keys() -> None:
        graves, files = {}, {}
        if settings.warehouse.published_path.exists():
            with settings.warehouse.read() as con:
                graves, files = read_tombstones(con), published_files(con)
        problems.extend(check_tombstones(segments, graves))
        # A file that is there but can't be read is not gone.
        gone = {key: file for key, file in files.items() if key not in keys}
        problems.extend(check_departures(segments, gone, usages))

    return [check_segment_files, check_guards, check_pools, check_destinations, check_keys]


def _places_left(settings: Settings, found: Sequence[DestinationBase]) -> Iterator[CatalogProblem]:
    """Yield a warning for each place that an edit of the destinations leaves behind with customers in it."""
    from segmentation.sync.left_places import find_left

    lines = {one.name: one.where for one in found}
    file = str(settings.catalog / "destinations.yml")
    for left in find_left(settings.sync_state, found):
        told, _, line = lines.get(left.destination, "").rpartition(":")
        yield CatalogProblem(
            told or file,
            int(line) if line.isdigit() else 1,
            left.fact,
            expected="nobody in a place that no destination is in",
            repair=left.repair,
            severity="warning",
        )


def _problem(error: CatalogError) -> CatalogProblem:
    file, _, line = error.where.rpartition(":")
    known = line.isdigit()
    return CatalogProblem(
        file=file if known else error.where,
        line=int(line) if known else 1,
        what=error.what,
        expected=error.expected,
        repair=error.repair,
    )


def validate(
    overlaps: Annotated[
        bool, typer.Option("--overlaps", help="Say also which rules contain or overlap others, with an example.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the whole catalog: mappings, identifiers, purposes, matching, segments, policy, pools, destinations.

    Exit code 0: it can be used; warnings may remain. 1: it can't.
    """
    settings = Settings.load()
    problems = find_problems(settings, overlaps=overlaps)
    warnings = [problem for problem in problems if problem.severity == "warning"]
    errors = [problem for problem in problems if problem.severity == "error"]
    if as_json:
        print_json({"catalog": settings.catalog, "errors": len(errors), "problems": problems})
    else:
        for problem in problems:
            style = {"error": "red", "warning": "yellow"}.get(problem.severity, "blue")
            out.print(Text(problem.severity, style=style), Text(f"{problem.where}: {problem.what}"))
            for name, text in (("expected", problem.expected), ("repair", problem.repair)):
                if text:
                    out.print(Text(f"    {name + ':':<9} {text}", style="dim"))
        files = sum(1 for _ in settings.catalog.rglob("*.yml"))
        verdict = _counted(len(errors), "error") if errors else "no errors"
        out.print(
            f"{files} files in {settings.catalog}: {verdict}, {_counted(len(warnings), 'warning')}",
            markup=False,
            soft_wrap=True,
        )
    if errors:
        raise typer.Exit(1)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_source(
    file: Annotated[Path, typer.Argument(help="A file as it would land.")],
    feed: Annotated[str | None, typer.Option(help="Landing folder it is meant for; default: the one it is in.")] = None,
    as_json: Json = False,
) -> None:
    """Say what would happen to a file: rows to load, folded, duplicate, to quarantine and why. Nothing is written.

    Exit code 0: it would load, at least in part. 1: it would be rejected.
    """
    from segmentation.sources.candidate import LedgerKey, loaded_files
    from segmentation.sources.check import check_file
    from segmentation.sources.mapping import load_mappings

    settings = Settings.load()
    mappings = load_mappings(settings.catalog / "sources")
    loaded = frozenset[LedgerKey]()
    if settings.warehouse.published_path.exists():
        with settings.warehouse.read() as con:
            loaded = frozenset(loaded_files(con))
    report = check_file(file, mappings, landing=settings.landing_folder, feed=feed or "", ledger=loaded)
    if as_json:
        print_json(report.as_dict())
    else:
        _show_file(report)
    if not report.is_accepted:
        raise typer.Exit(1)


def _show_file(report: FileCheck) -> None:
    accepted = report.is_accepted
    verdict = Text("would load", style="green") if accepted else Text("would be rejected", style="red")
    out.print(Text(report.path, style="bold"), verdict, f"as {report.format}, feed {report.feed}")
    if report.problem:
        for name, text in report.problem.items():
            out.print(Text(f"  {name + ':':<10} {text}"))
    if report.columns_missing:
        out.print(Text(f"  columns missing: {', '.join(report.columns_missing)}", style="red"))
    if report.columns_unused:
        out.print(Text(f"  columns not used: {', '.join(report.columns_unused)}", style="dim"))
    if report.entities:
        rows = [
            (
                one.entity,
                one.rows_read,
                one.rows_loaded,
                one.rows_folded,
                one.rows_duplicate,
                one.rows_quarantined,
                one.is_loaded,
            )
            for one in report.entities
        ]
        out.print(table(["entity", "read", "to load", "folded", "duplicate", "to quarantine", "loaded before"], rows))
    for one in report.entities:
        for reason, count in one.reasons.items():
            out.print(Text(f"  {one.entity}: {count:,} × {reason}"))
