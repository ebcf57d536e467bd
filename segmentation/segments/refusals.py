"""Changes that no run publishes, whoever approved them: a used segment that goes, and more segments than the quota.

Belongs here: finding them between what is live and an edited catalog. Does not belong here: who uses a segment
(``usages.py``), the quota itself (``policy.py``), and keeping what is live instead (``in_force.py``). ``strata
validate`` says the same before anything runs; a run can't rely on somebody having asked it.
"""

from collections.abc import Iterable
from pathlib import Path

from segmentation.errors import CatalogProblem
from segmentation.segments.catalog import Catalog
from segmentation.segments.policy import Policy, check_quota, guarded_segments
from segmentation.segments.usages import Usage, find_departures, usages_in_catalog


def find_refusals(
    live: Catalog, catalog: Catalog, policy: Policy, folder: Path, usages: Iterable[Usage]
) -> dict[str, CatalogProblem]:
    """Return what is refused, by the segment whose change it is.

    Over the quota, every segment that would come to life is refused: which of them is one too many, nobody said.

    Args:
        live: What is live.
        catalog: What the catalog says.
        policy: The policy to heed.
        folder: The catalog folder.
        usages: The places outside of segments and the policy that name a segment.
    """
    known = [*usages, *usages_in_catalog(catalog.segments, catalog.groups)]
    known += [Usage(*guarded) for guarded in guarded_segments(folder, policy)]
    here = {key: one for key, one in live.segments.items() if one.definition.lifecycle != "retired"}
    gone = {key: one.file for key, one in here.items() if key not in catalog.segments}
    found = {key: problem for key, problem in find_departures(catalog.segments, gone, known) if key in here}
    for over in check_quota(folder, policy, _evaluated(catalog)):
        found |= {key: over for key in _evaluated(catalog) if key not in {*_evaluated(live), *found}}
    return found


def check_first(catalog: Catalog, policy: Policy, folder: Path) -> list[CatalogProblem]:
    """Return what keeps a catalog from being the first one that is published."""
    return check_quota(folder, policy, _evaluated(catalog))


def _evaluated(catalog: Catalog) -> list[str]:
    return [key for key, segment in catalog.segments.items() if segment.definition.is_evaluated]
