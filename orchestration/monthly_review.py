"""The job that asks once a month which segments nobody needs any more.

Belongs here: the question as Dagster sees it. What is found is a warning of a check, so that the alert sensor tells
people as it does of every other one. Does not belong here: the answer (`segment_review.py`).
"""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation

from orchestration.resources import StrataResource
from orchestration.segment_review import review

#: The check that the job reports to the alert sensor.
CHECK = "segments_are_needed"


@dg.op
def review_published_segments(context: dg.OpExecutionContext, strata: StrataResource) -> Iterator[object]:
    """Look for segments that nobody needs, and report them as a warning."""
    found = review(strata.settings)
    lines = [f"{one.segment_key} ({one.owner}): {'; '.join(r.text for r in one.reasons)}" for one in found.stale]
    if found.is_over_quota:
        lines.insert(0, f"{found.live} segments are live, the quota is {found.quota}")
    context.log.info("\n".join(lines) or "every segment is needed")
    yield AssetCheckEvaluation(
        asset_key=dg.AssetKey(["segments", "catalog"]),
        check_name=CHECK,
        passed=not lines,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(lines) or "every segment is needed",
        metadata={
            "stale": dg.MetadataValue.json([asdict(one) for one in found.stale]),
            "repair": dg.MetadataValue.text("strata prune shows each with what to do"),
        },
    )
    yield dg.Output(None)


@dg.job(description="Looks for segments that nobody needs any more; what it finds is a warning to people.")
def review_catalog() -> None:
    """Review once."""
    review_published_segments()
