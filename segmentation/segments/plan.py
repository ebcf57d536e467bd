"""A plan: what publishing the catalog would do, tried on a scratch database.

Belongs here: trying it, and what a plan consists of. Does not belong here: its sections (``plan_sections.py``), its
file (``plan_file.py``) and carrying it out (``orchestration/commands/apply.py``). Nothing that is live is written and
no writer is kept waiting: the candidate is built by the stage's own code beside the readers' copy, so that what is
planned is what will be applied.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from segmentation import contracts
from segmentation.errors import CatalogProblems, StrataError
from segmentation.run import Run
from segmentation.segments.approvals import Step
from segmentation.segments.canaries import with_canaries
from segmentation.segments.canary_metrics import judge_canaries
from segmentation.segments.canary_rows import live_canaries
from segmentation.segments.candidate import build_candidate
from segmentation.segments.catalog import Catalog, content_hash, digest, load_catalog
from segmentation.segments.change_classes import DefinitionChange, Difference
from segmentation.segments.in_force import (
    POLICY,
    Unit,
    find_units,
    policy_hash,
    with_policy,
)
from segmentation.segments.kinds import Contract, TypedFeatures
from segmentation.segments.listed_entries import LISTS, show_lists
from segmentation.segments.live_catalog import has_published, read_live, read_policy
from segmentation.segments.plan_sections import PlanContext, PlanSection, Section
from segmentation.segments.policy import Policy, given_way, load_policy
from segmentation.segments.publications import latest_publication
from segmentation.segments.refusals import find_refusals
from segmentation.segments.usages import Usage
from segmentation.warehouse import Connection, scalar, table_exists

#: Run of a plan: it is never published.
RUN_ID = "plan"

#: Who moves, whatever the order of rows; the same over what is proposed and what was published.
_CONTENT = """
select count(*), coalesce(bit_xor(md5_number(
    concat_ws(chr(31), customer_id, segment_key, change, cause, segment_version)
)), 0)
from {source}
"""


@dataclass(frozen=True, slots=True)
class Base:
    """What a plan was made on; it can be applied as long as all of it stands.

    Attributes:
        catalog: Digest of all definitions, groups and lists.
        policy: Digest of the policy's file.
        policy_in_force: Digest of the policy that was published; empty where none was.
        features: The published features.
        identity: The published identity: who customers are, and what they consent to.
        publication: Number of the live publication of membership.
        publication_id: The candidate that it published.
        pins: Digest of the segments that are pinned, and of canaries as people left them.
    """

    catalog: str
    policy: str
    policy_in_force: str
    features: str
    identity: str
    publication: int
    publication_id: str
    pins: str

    @property
    def text(self) -> str:
        """It as text that a run can carry; see ``read_base``."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Content:
    """The changes of a publication: how many, and a digest of them that no order of rows changes."""

    changes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a plan tells.

    Attributes:
        as_of: The moment of the features.
        base: What it was made on.
        units: Definitions that differ from what is live.
        policy: In words, what of the policy gives way; empty where nothing does.
        is_policy_changed: Whether the policy differs at all.
        expected: The changes of membership that applying it would publish.
        versions: Version that each segment would have.
        guards_broken: Segments that would break a guard.
        sections: The effects.
    """

    as_of: datetime
    base: Base
    units: tuple[Unit, ...]
    policy: tuple[str, ...]
    is_policy_changed: bool
    expected: Content
    versions: Mapping[str, int]
    guards_broken: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def has_changes(self) -> bool:
        """Whether applying it would change anything."""
        return bool(self.units or self.is_policy_changed or self.expected.changes)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What its approval approves: every unit that differs, and the policy where it does."""
        found = [unit.step for unit in self.units]
        if self.is_policy_changed and self.base.policy_in_force:
            found.append(Step(POLICY, self.base.policy_in_force, self.base.policy))
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready facts."""
        return {
            "as_of": self.as_of.isoformat(),
            "base": asdict(self.base),
            "definitions": [
                {
                    "unit": unit.key,
                    "class": unit.change_class,
                    "base_hash": unit.base_hash,
                    "target_hash": unit.target_hash,
                    "changes": [_change_facts(change) for change in unit.changes],
                }
                for unit in self.units
            ],
            "policy": {"is_changed": self.is_policy_changed, "gives_way": list(self.policy)},
            "expected": asdict(self.expected),
            "versions": dict(self.versions),
            "guards_broken": list(self.guards_broken),
            "sections": [section.as_dict() for section in self.sections],
        }


def _change_facts(change: DefinitionChange) -> dict[str, Any]:
    facts = asdict(change)
    facts["class"] = facts.pop("change_class")
    facts["differences"] = [_difference_facts(difference) for difference in change.differences]
    return facts


def _difference_facts(difference: Difference) -> dict[str, Any]:
    facts = asdict(difference)
    facts["class"] = facts.pop("change_class")
    if difference.name in LISTS:
        before, after = show_lists(difference)
        facts |= {"before": asdict(before), "after": asdict(after)}
    return facts


def make_plan(
    con: Connection,
    folder: Path,
    contract: Contract | TypedFeatures,
    *,
    recorded_at: datetime,
    sections: Sequence[PlanSection],
    feature_units: Mapping[str, str] | None = None,
    usages: Iterable[Usage] = (),
) -> Plan:
    """Try the catalog below ``folder``, approved as it is, and say what it would do.

    Args:
        con: A scratch database; see ``scratch.lay_views``.
        folder: The catalog folder.
        contract: Feature name to column type.
        recorded_at: The machine's time, UTC.
        sections: What measures effects, in the order to show them.
        feature_units: Feature to what its values count or measure.
        usages: The places outside of segments that name one, so that it may not go.

    Raises:
        CatalogProblems: The catalog has errors, or what no approval lets through.
        StrataError: There is nothing to compare it with yet.
    """
    catalog, policy = load_catalog(folder, contract), load_policy(folder)
    if not has_published(con) or not table_exists(con, "features", "customer_features"):
        raise StrataError(
            "nothing has been published yet that a catalog could be compared with",
            where="segments.publications",
            expected="a first run, which publishes the catalog as it is",
            repair="strata run",
        )
    as_of = scalar(con, "select max(as_of) from features.customer_features")
    last = latest_publication(con)
    moment = as_of if isinstance(as_of, datetime) else (last.as_of if last else recorded_at)
    base = find_base(con, catalog, policy)
    in_force = read_policy(con)
    live = read_live(con, folder, contract)
    refused = find_refusals(live, catalog, policy, folder, usages)
    if refused:
        raise CatalogProblems([*dict.fromkeys(refused.values())])
    units = find_units(live, catalog)
    tried = judge_canaries(con, with_policy(with_canaries(live, catalog), policy))
    run = Run(RUN_ID, moment, recorded_at)
    build_candidate(con, run, tried)
    context = PlanContext(con, run, live, tried, units, feature_units or {})
    expected = read_content(con, "segments.candidate_changes")
    versions = dict(con.execute("select segment_key, segment_version from segments.candidate_catalog").fetchall())
    broken = con.execute(
        "select segment_key from segments.candidate_sizes "
        "where not are_guards_kept and not are_guards_waived order by 1"
    )
    guards_broken = tuple(key for (key,) in broken.fetchall())
    return Plan(
        as_of=moment,
        base=base,
        units=units,
        policy=tuple(given_way(in_force, policy)) if in_force else (),
        is_policy_changed=in_force is not None and policy_hash(in_force) != policy_hash(policy),
        expected=expected,
        versions=dict(sorted(versions.items())),
        guards_broken=guards_broken,
        # The sections come last: some of them lay other views.
        sections=tuple(section for measure in sections for section in measure(context)),
    )


def find_base(con: Connection, catalog: Catalog, policy: Policy) -> Base:
    """Return what a plan made now stands on; asked of the scratch database, and of the live one before applying."""
    in_force = read_policy(con)
    last = latest_publication(con)
    features = contracts.latest_candidate(con, "features", published=True)
    identity = contracts.latest_candidate(con, "identity", published=True)
    return Base(
        catalog=content_hash(catalog),
        policy=policy_hash(policy),
        policy_in_force=policy_hash(in_force) if in_force else "",
        features=features.candidate_id if features else "",
        identity=identity.candidate_id if identity else "",
        publication=last.seq if last else 0,
        publication_id=last.candidate_id if last else "",
        pins=find_pins(con),
    )


def find_pins(con: Connection) -> str:
    """Return the digest of what people hold segments to, and of canaries as they left them; empty where they did not.

    They can decide both without a publication, so the live warehouse may know more than the readers' copy.
    """
    if not table_exists(con, "segments", "pins"):
        return ""
    rows = con.execute("select * from segments.pins where ended_at is null order by all").fetchall()
    rows += [(one.canary_seq, one.state) for one in live_canaries(con).values()]
    return digest([[str(value) for value in row] for row in rows]) if rows else ""


def read_base(text: str) -> Base:
    """Return what ``Base.text`` wrote."""
    facts = json.loads(text)
    return Base(**{field.name: facts[field.name] for field in fields(Base)})


def read_content(con: Connection, source: str) -> Content:
    """Return how many changes ``source`` holds, a trusted table or query, and their digest."""
    changes, found = con.execute(_CONTENT.format(source=source)).fetchall()[0]
    return Content(int(changes), f"{int(found):032x}")
