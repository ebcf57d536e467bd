"""The stage as it runs every day, and approving what waits: what tests of approvals share."""

from collections.abc import Sequence
from datetime import datetime

from segmentation import contracts
from segmentation.segments.approvals import Approver, approve
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog import Catalog, load_catalog
from segmentation.segments.in_force import definitions_to_evaluate, find_units, policy_step
from segmentation.segments.live_catalog import read_live, read_policy
from segmentation.segments.policy import load_policy
from segmentation.segments.publications import latest_publication
from segmentation.segments.publish import publish
from segmentation.segments.usages import Usage

from .conftest import Company

ANA = Approver("ana", "agreed in review", datetime(2026, 11, 2))


def evaluated(company: Company, at: datetime = ANA.at, usages: Sequence[Usage] = ()) -> Catalog:
    """Return what a run would evaluate."""
    contracts.ensure_schema(company.con, "segments")
    return definitions_to_evaluate(company.con, company.folder, company.types, at=at, usages=usages)


def run(company: Company, days: int = 0, at: datetime = ANA.at, usages: Sequence[Usage] = ()) -> Catalog:
    """Evaluate what is in force, and publish it."""
    catalog = evaluated(company, at, usages)
    moment = company.next_run(days)
    build_candidate(company.con, moment, catalog)
    publish(company.con, moment)
    company.check_consistency()
    return catalog


def accept(company: Company, plan: str = "plan-hash", approver: Approver = ANA) -> None:
    """Approve everything that waits, as strata apply does."""
    live = read_live(company.con, company.folder, company.types)
    catalog = load_catalog(company.folder, company.types)
    steps = [unit.step for unit in find_units(live, catalog)]
    before, after = read_policy(company.con), load_policy(company.folder)
    if before and before != after:
        steps.append(policy_step(before, after))
    last = latest_publication(company.con)
    approve(company.con, steps, approver, plan, last.seq if last else 0, 90)


def held(catalog: Catalog) -> set[tuple[str, str]]:
    """Return what waits: unit and subject."""
    return {(one.unit_key, one.subject) for one in catalog.held}


def write_policy(company: Company, text: str) -> None:
    (company.folder / "policy.yml").write_text(text, encoding="utf-8")
