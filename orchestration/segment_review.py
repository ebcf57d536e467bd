"""Which segments nobody needs any more: asked of the catalog and of what is published.

Belongs here: putting the question, for the command and for the monthly job. Does not belong here: what makes a segment
stale (`segmentation/segments/staleness.py`).
"""

from assets.sync import read_destinations
from orchestration.settings import Settings
from segmentation.costs.pools import load_pools
from segmentation.features.contract import load_contract
from segmentation.segments.catalog import load_catalog
from segmentation.segments.policy import guarded_segments, load_policy
from segmentation.segments.staleness import UNCHANGED_DAYS, StaleReview, review_segments
from segmentation.segments.usages import Usage, usages_in_catalog
from segmentation.sync.catalog import listed_segments, takes


def review(settings: Settings, *, unchanged_days: int = UNCHANGED_DAYS) -> StaleReview:
    """Judge the published segments against the catalog's files.

    Raises:
        CatalogProblems: The catalog can't be used.
        NotFoundError: Nothing is published yet.
    """
    catalog = load_catalog(settings.catalog, load_contract(settings.dbt_project))
    pools = load_pools(settings.catalog / "cost_pools.yml")
    policy = load_policy(settings.catalog)
    destinations = read_destinations(settings)
    usages = [
        *usages_in_catalog(catalog.segments, catalog.groups),
        *(Usage(key, "a cost pool", pools.where(place)) for key, place in pools.named_segments.items()),
        *(Usage(*guarded) for guarded in guarded_segments(settings.catalog, policy)),
        *(Usage(*listed) for one in destinations for listed in listed_segments(one)),
    ]
    takers = {
        key: [one.name for one in destinations if takes(one, key, segment.definition.destinations)]
        for key, segment in catalog.segments.items()
    }
    with settings.warehouse.read() as con:
        return review_segments(con, usages, takers, quota=policy.quota.live_segments, unchanged_days=unchanged_days)
