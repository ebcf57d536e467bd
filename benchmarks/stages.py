"""The stages as their assets call them: the same functions, in the same order, without an orchestrator.

Belongs here: what one stage does between opening and closing the warehouse. Does not belong here: gates (they are
measured apart, by `judge`) or measuring (`measurement.py`). Everything is imported before the clock starts.
"""

import importlib
from collections.abc import Callable
from datetime import timedelta

from expectations.bridge import validate
from expectations.gates import GATES
from orchestration import dbt_build
from orchestration.dbt_project import load_project, target_folder
from orchestration.settings import Settings, now
from orchestration.stages import STAGE_NAMES
from segmentation.costs import candidate as costs_candidate
from segmentation.costs import publish as costs_publish
from segmentation.costs.pools import load_pools
from segmentation.features import candidate as features_candidate
from segmentation.features import publish as features_publish
from segmentation.features.contract import load_contract
from segmentation.identity import candidate as identity_candidate
from segmentation.identity import publish as identity_publish
from segmentation.identity.catalog import load_identity_catalog
from segmentation.identity.purposes import load_purposes
from segmentation.identity.state import export_state
from segmentation.readers import readable_tables
from segmentation.run import Run
from segmentation.segments import candidate as segments_candidate
from segmentation.segments import publish as segments_publish
from segmentation.segments.catalog import load_catalog
from segmentation.sources import candidate as sources_candidate
from segmentation.sources import publish as sources_publish
from segmentation.sources.mapping import load_mappings
from segmentation.sync import candidate as sync_candidate
from segmentation.sync import publish as sync_publish
from segmentation.sync.catalog import load_destinations

Part = tuple[str, Callable[[], object]]

#: Parts of the chain in order; the marts and the readers' copy come last and have no limit.
PARTS: tuple[str, ...] = (*STAGE_NAMES, "marts")


def open_run(settings: Settings) -> Run:
    """Return the run that all stages of one measurement belong to: the moment is the sample's own."""
    as_of = settings.resolve_as_of(now())
    return Run(run_id="benchmark", as_of=as_of, recorded_at=as_of + timedelta(hours=5))


def parts_of(stage: str, settings: Settings, run: Run) -> list[Part]:
    """Return a stage's work as named parts, each measured by itself."""
    return _WORK[stage](settings, run)


def judge(stage: str, settings: Settings) -> None:
    """Judge a stage's candidate as its gate does, without recording it."""
    gate = next(gate for gate in GATES if gate.stage.name == stage)
    with settings.warehouse.write() as con:
        validate(con, gate.suite)


def prepare_dbt(settings: Settings) -> None:
    """Parse the dbt project, as loading the definitions does before any run, and import dbt."""
    importlib.import_module("dbt.cli.main")
    load_project(settings)


def _sources(settings: Settings, run: Run) -> list[Part]:
    def build() -> None:
        mappings = load_mappings(settings.catalog / "sources")
        with settings.warehouse.write() as con:
            sources_candidate.build_candidate(con, run, landing=settings.landing_folder, mappings=mappings)

    def publish() -> None:
        with settings.warehouse.write() as con:
            sources_publish.publish(con, run)

    return [("candidate", build), ("publish", publish)]


def _identity(settings: Settings, run: Run) -> list[Part]:
    def build() -> None:
        catalog = load_identity_catalog(settings.catalog)
        with settings.warehouse.write() as con:
            identity_candidate.build_candidate(con, run, catalog)

    def publish() -> None:
        with settings.warehouse.write() as con:
            identity_publish.publish(con, run)
            export_state(con, settings.identity_state_folder, run)

    return [("candidate", build), ("publish", publish)]


def _features(settings: Settings, run: Run) -> list[Part]:
    def build() -> None:
        contract = load_contract(settings.dbt_project)
        with settings.warehouse.write() as con:
            features_candidate.build_candidate(con, run, contract)

    def publish() -> None:
        with settings.warehouse.write() as con:
            features_publish.publish(con, run)

    return [("dbt", lambda: build_models(settings, run, "features")), ("candidate", build), ("publish", publish)]


def build_models(settings: Settings, run: Run, selector: str) -> None:
    """Build one selection of dbt models with their data tests, as the steps do.

    Raises:
        RuntimeError: dbt failed; with what it said.
    """
    target = target_folder(settings) / selector
    call = dbt_build.build_models(settings, run, load_project(settings), target, ["--selector", selector])
    if call.exit_code:
        raise RuntimeError(f"dbt build --selector {selector} failed:\n" + "\n".join(call.errors))


def _segments(settings: Settings, run: Run) -> list[Part]:
    def build() -> None:
        catalog = load_catalog(settings.catalog, load_contract(settings.dbt_project))
        with settings.warehouse.write() as con:
            segments_candidate.build_candidate(con, run, catalog)

    def publish() -> None:
        with settings.warehouse.write() as con:
            segments_publish.publish(con, run)

    return [("candidate", build), ("publish", publish)]


def _costs(settings: Settings, run: Run) -> list[Part]:
    def build() -> None:
        pools = load_pools(settings.catalog / "cost_pools.yml")
        with settings.warehouse.write() as con:
            costs_candidate.build_candidate(con, run, pools)

    def publish() -> None:
        with settings.warehouse.write() as con:
            costs_publish.publish(con, run)

    return [("candidate", build), ("publish", publish)]


def _sync(settings: Settings, run: Run) -> list[Part]:
    purposes = load_purposes(settings.catalog)
    destinations = load_destinations(
        settings.catalog / "destinations.yml", {"data": str(settings.data)}, known_purposes=list(purposes.by_name)
    )

    def build() -> None:
        with settings.warehouse.write() as con:
            sync_candidate.build_candidate(
                con,
                run,
                destinations=destinations,
                state_url=settings.sync_state,
                unconditional_purposes=purposes.unconditional,
            )

    def publish() -> None:
        with settings.warehouse.write() as con:
            sync_publish.publish(con, run, destinations=destinations, state_url=settings.sync_state)

    return [("candidate", build), ("publish", publish)]


def _marts(settings: Settings, run: Run) -> list[Part]:
    def copy() -> None:
        warehouse = settings.warehouse
        with warehouse.write() as con:
            warehouse.publish_copy(con, readable_tables(con))

    return [("dbt", lambda: build_models(settings, run, "marts")), ("readers' copy", copy)]


_WORK: dict[str, Callable[[Settings, Run], list[Part]]] = {
    "sources": _sources,
    "identity": _identity,
    "features": _features,
    "segments": _segments,
    "costs": _costs,
    "sync": _sync,
    "marts": _marts,
}
