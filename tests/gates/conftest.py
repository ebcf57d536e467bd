"""The real flow on a tiny company: made once, copied for each test."""

import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from assets import costs, features, identity, segments, sources, sync
from expectations.gates import ACCEPT_TAG
from orchestration.dbt_project import load_project
from orchestration.definitions import build_definitions, build_parts
from orchestration.jobs import REFRESH_ALL
from orchestration.resources import AS_OF_TAG
from orchestration.settings import Settings
from orchestration.stages import STAGE_NAMES
from segmentation.sample.company import generate

MOMENT = "2026-11-01T00:00:00"

#: Tables that each stage publishes, by stage.
PUBLISHED = {module.STAGE.name: tuple(module.TABLES) for module in (sources, identity, features, segments, costs, sync)}


@dataclass(frozen=True)
class Outcome:
    """What a run did: the steps it started, its errors, how its gates judged, and what they advise."""

    success: bool
    steps: frozenset[str]
    errors: str
    gates: dict[str, bool]
    repairs: str


class House:
    """One installation, run through Dagster as the schedule would run it."""

    def __init__(self, data: Path, instance: dg.DagsterInstance) -> None:
        self.settings = Settings(data=data, lock_wait_seconds=5)
        self.instance = instance
        self.parts = build_parts(load_project(self.settings))
        self.job = build_definitions(self.settings).resolve_job_def(REFRESH_ALL)

    def run(self, *stages: str, keys: tuple[str, ...] = (), accept: str = "") -> Outcome:
        """Run stages, or the steps that make single assets, named ``stage/table``."""
        steps = [asset for stage in stages for asset in self.parts[stage]] + [self.maker(key) for key in keys]
        result = self.job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            asset_selection=[key for asset in steps for key in asset.keys],
            tags={AS_OF_TAG: MOMENT, ACCEPT_TAG: accept},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        gates = [found for found in result.get_asset_check_evaluations() if found.check_name.endswith("_gate")]
        return Outcome(
            success=result.success,
            steps=frozenset(str(event.step_key) for event in result.all_events if event.is_step_start),
            errors="\n".join(
                str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure
            ),
            gates={found.check_name: found.passed for found in gates},
            repairs="\n".join(str(found.metadata["repair"].value) for found in gates if "repair" in found.metadata),
        )

    def maker(self, key: str) -> dg.AssetsDefinition:
        """Return the step that makes an asset."""
        wanted = dg.AssetKey(key.split("/"))
        return next(asset for part in self.parts.values() for asset in part if wanted in asset.keys)

    def sql(self, statements: str) -> list[tuple[object, ...]]:
        """Run SQL on the warehouse."""
        with self.settings.warehouse.write() as con:
            return con.execute(statements).fetchall()

    def served(self, stages: tuple[str, ...] = STAGE_NAMES) -> dict[str, object]:
        """Fingerprint everything that stages serve: published tables and what destinations hold."""
        with self.settings.warehouse.write() as con:
            found: dict[str, object] = {
                f"{stage}.{table}": con.execute(
                    f"select count(*), bit_xor(hash(t::varchar)) from {stage}.{table} as t"
                ).fetchall()
                for stage in stages
                for table in PUBLISHED[stage]
            }
        for path in (self.settings.data / "online_store.db", *sorted((self.settings.data / "flags").glob("*"))):
            found[path.name] = path.read_bytes()
        return found


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A data folder after one good run of every stage; the workers of a test run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "company"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            generate(draft / "landing", draft / "truth", customers=150, days=40, seed=7, end=date(2026, 11, 1))
            with dg.DagsterInstance.ephemeral() as instance:
                outcome = House(draft, instance).run(*STAGE_NAMES)
            assert outcome.success, outcome.errors
            assert outcome.gates == {f"{stage}_gate": True for stage in STAGE_NAMES}
            draft.rename(folder)
    return folder


@pytest.fixture
def house(company: Path, tmp_path: Path) -> Iterator[House]:
    """An installation of its own, where every stage has published once."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield House(Path(shutil.copytree(company, tmp_path / "data")), instance)
