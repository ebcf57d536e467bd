"""An installation of a small shop: a live warehouse, its published copy and a catalog.

Belongs here: what tests of plans and of applying them do with it. Building it takes a second or two, so it is built
once, and each test gets a copy (the fixture ``shop``).
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from segmentation import contracts
from segmentation.costs.plan_section import cost_section
from segmentation.readers import readable_tables
from segmentation.segments import plan_effects, plan_values
from segmentation.segments.application import Outcome, carry_out, require_base
from segmentation.segments.approvals import Approver
from segmentation.segments.candidate import build_candidate
from segmentation.segments.in_force import definitions_to_evaluate
from segmentation.segments.plan import Base, Plan, make_plan
from segmentation.segments.plan_file import read_plan, write_plan
from segmentation.segments.plan_sections import Section
from segmentation.segments.publish import publish
from segmentation.segments.scratch import lay_views
from segmentation.segments.usages import Usage
from segmentation.sync.catalog import SqlDestination
from segmentation.sync.plan_section import delivery_section
from segmentation.warehouse import Connection, Warehouse

from .conftest import START, TIERS, Company

STORE = SqlDestination(
    name="store", description="x", kind="sqlalchemy", url="sqlite://", purposes=["service"], segments="all",
    owner="team:a", max_staleness_seconds=1,
)  # fmt: skip
SECTIONS = [
    plan_effects.guard_section,
    plan_effects.pin_section,
    plan_effects.size_section,
    plan_effects.transition_sections,
    plan_effects.indirect_section,
    plan_effects.conflict_section,
    plan_values.revenue_section,
    cost_section,
    plan_values.traffic_section,
    plan_values.consent_section,
    delivery_section([STORE], ["service"]),
    plan_values.mover_section,
]
ANA = Approver("ana", "SEG-12", datetime(2026, 11, 2))


@dataclass
class Shop:
    """An installation: a live warehouse with its published copy, and a catalog."""

    warehouse: Warehouse
    company: Company
    runs: int = 0
    sections: list[Any] = field(default_factory=lambda: list(SECTIONS))
    usages: list[Usage] = field(default_factory=list)

    def on(self, work: Callable[[Company], object]) -> None:
        """Work on the live warehouse."""
        with self.warehouse.write() as con:
            work(replace(self.company, con=con))

    def features(self, *rows: dict[str, Any]) -> None:
        """Publish features, and who customers are."""

        def work(company: Company) -> None:
            contracts.ensure_schema(company.con, "identity")
            company.features(*rows)
            company.con.execute("delete from identity.customers")
            for row in rows:
                company.fill("identity.customers", customer_id=row["customer_id"], status="active")
            self.runs += 1
            run = self._run(company)
            for stage in ("identity", "features"):
                contracts.stamp_candidate(company.con, stage, run)
                contracts.mark_published(company.con, stage, run)

        self.on(work)

    def _run(self, company: Company) -> Any:
        company.runs = self.runs
        return company.next_run()

    def run(self, base: Base | None = None, *, at_step: Callable[[str], None] | None = None, days: int = 0) -> str:
        """Run the stage as every day, or as apply does it; return the run's id."""
        self.runs += 1
        with self.warehouse.write() as con:
            company = replace(self.company, con=con)
            run = self._run(company)
            contracts.ensure_schema(con, "segments")
            check = partial(require_base, con, base) if base else None
            catalog = definitions_to_evaluate(
                con, company.folder, company.types, at=run.recorded_at + timedelta(days=days), check=check
            )
            build_candidate(con, run, catalog)
            publish(con, run, at_step)
            company.check_consistency()
            self.warehouse.publish_copy(con, readable_tables(con))
        return str(run.run_id)

    def plan(self) -> Plan:
        """Plan on the published copy."""
        with self.warehouse.scratch() as con:
            lay_views(con)
            return make_plan(
                con, self.company.folder, self.company.types, recorded_at=START, sections=self.sections,
                feature_units={"mrr_micros": "micros"}, usages=self.usages,
            )  # fmt: skip

    def write_plan(self, path: Path) -> Plan:
        found = self.plan()
        write_plan(path, found)
        return found

    def apply(self, path: Path, **arguments: Any) -> Outcome:
        """Apply a plan's file."""
        return carry_out(
            self.warehouse, read_plan(path), self.company.folder, self.company.types, ANA, plan_again=self.plan,
            run_stage=arguments.pop("run_stage", self.run), **arguments,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the live warehouse."""
        with self.warehouse.write() as con:
            return con.execute(sql).fetchall()

    def members(self, key: str) -> set[str]:
        return {row[0] for row in self.rows(f"select customer_id from segments.membership where segment_key = '{key}'")}


def build_shop(folder: Path, con: Connection) -> Shop:
    """Publish four customers in three tiers.

    Args:
        folder: Where it lives.
        con: Any connection: the company of a shop gets that of its warehouse while that is open.
    """
    for name in ("segments", "lists"):
        (folder / "catalog" / name).mkdir(parents=True)
    company = Company(con, folder / "catalog")
    company.write_groups(TIERS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=3)
    company.write("reachable", "is_known", consent="{purposes: [marketing.email]}")
    found = Shop(_warehouse(folder), company)
    found.features(
        {"customer_id": "c_a", "mrr_micros": 500, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_b", "mrr_micros": 150, "is_known": True, "country": "DE"},
        {"customer_id": "c_c", "mrr_micros": 5, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_d", "mrr_micros": 0},
    )
    found.run()
    return found


def copy_shop(built: Shop, folder: Path) -> Shop:
    """Return a shop of one's own, below an empty folder."""
    shutil.copytree(built.company.folder.parent, folder, dirs_exist_ok=True)
    company = replace(built.company, folder=folder / "catalog", types=dict(built.company.types))
    return replace(built, warehouse=_warehouse(folder), company=company, sections=list(SECTIONS), usages=[])


def _warehouse(folder: Path) -> Warehouse:
    # Starting threads for four customers takes longer than deciding them.
    return Warehouse(folder / "live.duckdb", folder / "copy.duckdb", threads=1, lock_wait_seconds=0.2)


def narrow(shop: Shop) -> None:
    """Make the rule of vip narrower: c_b falls to core."""
    shop.company.write("vip", "mrr_micros >= 200", group="tier", precedence=1)


def section(plan: Plan, name: str) -> Section:
    return next(one for one in plan.sections if one.name == name)


def stop_at(name: str) -> Callable[[str], None]:
    def stop(step: str) -> None:
        if step == name:
            raise KeyboardInterrupt(step)

    return stop
