"""Judging canaries: the mean of a feature within the canary against its mean beside it.

Belongs here: whom a metric compares, when a difference counts, and what follows. Does not belong here: who is in a
canary (``canaries.py``). Compared are customers whom the new version decides otherwise than the version before by rule,
consent or residency: within the canary they live with the one, beside it with the other, and a digest of their id
drew which, so nothing else sets them apart.

A metric is worse where its mean is off by more than its tolerance and by more than `Z` standard errors (Welch's, for
means of unequal variance). Every run asks anew, so the bar is higher than for one question: by chance alone one run in
700 would clear it.
"""

import math
from dataclasses import replace
from typing import Literal

from segmentation.segments.canaries import in_canary_sql, with_segments
from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogSegment, Check, Trial
from segmentation.segments.decisions import FEATURES, hard_conditions
from segmentation.segments.definitions import CanaryMetric
from segmentation.segments.rule_sql import to_sql
from segmentation.warehouse import Connection, quote, table_exists

#: Standard errors by which a mean must be worse.
Z = 3.0

_Side = tuple[int, float | None, float | None]


def judge_canaries(con: Connection, catalog: Catalog) -> Catalog:
    """Return a catalog whose canaries are as their metrics leave them: going on, paused or aborted.

    Nothing is written. A canary is judged from its second run on: before its first, nobody has lived with it. Of
    segments that its rule asks about, the published membership counts.

    Args:
        con: The warehouse, with the features of the run.
        catalog: The catalog, its canaries beside what is live.
    """
    if not table_exists(con, "features", "customer_features"):
        return catalog
    judged = {}
    for key, segment in catalog.segments.items():
        canary, trial = segment.definition.canary, segment.trial
        if canary is None or trial is None or trial.canary_seq is None or len(segment.parts) == 1:
            continue
        columns = {row[0] for row in con.execute(f"describe {FEATURES}").fetchall()}
        # A feature that is gone is for the candidate to tell, which can't be built without it.
        metrics = [metric for metric in canary.metrics if metric.feature in columns]
        if metrics:
            judged[key] = replace(segment, trial=_judge(trial, _measure(con, segment, metrics)))
    return with_segments(catalog, {**catalog.segments, **judged}) if judged else catalog


def _judge(trial: Trial, checks: tuple[Check, ...]) -> Trial:
    worse = [check for check in checks if check.verdict == "worse"]
    aborting = [check for check in worse if check.on_breach == "abort"]
    reason = "; ".join(f"{one.feature} is {one.mean:.6g} within it, {one.other_mean:.6g} beside it" for one in worse)
    if aborting:
        return replace(trial, percent=0, state="aborted", reason=reason, checks=checks)
    if worse:
        return replace(trial, state="paused", reason=reason, checks=checks)
    return replace(trial, checks=checks)


def _measure(con: Connection, segment: CatalogSegment, metrics: list[CanaryMetric]) -> tuple[Check, ...]:
    (percent, new), (_, base) = segment.parts
    drawn = in_canary_sql(segment.key, percent)
    figures = ", ".join(
        f"count({value}), avg({value}), var_samp({value})"
        for value in (f"cast({quote(metric.feature)} as double)" for metric in metrics)
    )
    rows = con.execute(
        f"select {drawn} as is_drawn, {figures} from {FEATURES} "
        f"where coalesce({_claim(new)}, false) <> coalesce({_claim(base)}, false) group by 1"
    ).fetchall()
    sides = {row[0]: row[1:] for row in rows}
    found = []
    for number, metric in enumerate(metrics):
        inside, outside = (
            sides[is_drawn][3 * number : 3 * number + 3] if is_drawn in sides else (0, None, None)
            for is_drawn in (True, False)
        )
        found.append(compare(metric, inside, outside))
    return tuple(found)


def compare(metric: CanaryMetric, inside: _Side, outside: _Side) -> Check:
    """Say whether a metric is worse within the canary.

    Args:
        metric: The metric.
        inside: Within the canary, how many customers have a value, their mean, and its sample variance.
        outside: The same beside the canary.
    """
    (number, mean, variance), (other_number, other_mean, other_variance) = inside, outside
    enough = min(number, other_number) >= metric.min_members
    if not enough or mean is None or other_mean is None:
        return Check(metric.feature, number, mean, other_number, other_mean, None, "too_few", metric.on_breach)
    gap = mean - other_mean if metric.worse == "higher" else other_mean - mean
    error = math.sqrt((variance or 0.0) / number + (other_variance or 0.0) / other_number)
    # Without any spread every difference is real; the largest finite number stands for it, as JSON has no infinity.
    z = gap / error if error else math.copysign(1e9, gap) if gap else 0.0
    is_worse = gap > metric.tolerance * abs(other_mean) and z > Z
    verdict: Literal["kept", "worse"] = "worse" if is_worse else "kept"
    return Check(metric.feature, number, mean, other_number, other_mean, round(z, 6), verdict, metric.on_breach)


def _claim(part: CatalogSegment | None) -> str:
    if part is None or part.condition is None:
        return "false"
    return "(" + " and ".join([to_sql(part.condition), *hard_conditions(part)]) + ")"
