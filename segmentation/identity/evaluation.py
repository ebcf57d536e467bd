"""How right a partition is, against labels: pairwise, B-cubed, whole clusters, edges before closure.

Belongs here: scores of plain tables (record, cluster, truth), with intervals. Does not belong here: where
labels come from (`truth.py`), or what a run keeps of its scores (`scorecard.py`).

All of it is counted from the contingency table of truth and clusters: no pair of records is ever written,
so a cluster of a million costs what a million clusters of one cost.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.errors import StrataError
from segmentation.warehouse import Connection

Reals = NDArray[np.float64]

#: Both ends of an interval leave out half of 5 %.
_TAILS = (2.5, 97.5)
_NORMAL_QUANTILE = 1.959963984540054

#: Entities are resampled in at most this many bags, chosen by hash: memory stays bounded by it.
_BAGS = 8192


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure about a partition.

    Attributes:
        metric: Its name.
        value: The figure; ``None`` where it is not defined (precision where nothing was predicted).
        ci_low: Lower end of its 95 % interval; ``None`` where it has none.
        ci_high: Upper end.
        n: What it was measured on: pairs, records, customers, persons or edges.
        slice: The part it is about, such as a rule's name; empty for all.
    """

    metric: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    slice: str = ""


def score_clusters(con: Connection, records: str, *, resamples: int = 400, seed: int = 1) -> list[Metric]:
    """Score a partition against the truth.

    Precision of pairs asks for each two records in one cluster whether they are one entity, recall for each
    two records of one entity whether they are in one cluster. B-cubed asks the same for each record and takes
    the mean (Bagga and Baldwin 1998), so that one giant does not outweigh all others. Clusters are exact where
    they hold an entity's records and nothing else. Intervals come from resampling entities with
    replacement: records of one entity are right or wrong together.

    Args:
        con: Any connection.
        records: A relation (table or query) with ``record`` (unique), ``cluster`` (null: a cluster of its
            own) and ``truth`` (null: without label, left out).
        resamples: How often entities are drawn anew.
        seed: Of the draws; the same seed gives the same intervals.

    Returns:
        ``pairwise_…``, ``b3_…``, ``cluster_…`` (``precision|recall|f1``), ``over_merged_customers``,
        ``split_persons``, ``customer_count_error_pct`` (of the labelled), ``label_coverage``.

    Raises:
        StrataError: A record stands there twice, or there is no label at all.
    """
    con.execute(f"create or replace temp table scored as select record, cluster, truth from ({_query(records)})")
    rows, distinct, labelled = con.execute(
        "select count(*), count(distinct record), count(truth) from scored"
    ).fetchall()[0]
    _check(rows, distinct, labelled)
    _write_cells(con)
    bags = _sum_bags(con)
    [(clusters, mixed)] = con.execute("select count(*), count(*) filter (persons > 1) from found_sizes").fetchall()
    [(entities, split)] = con.execute("select count(*), count(*) filter (parts > 1) from true_sizes").fetchall()
    for table in ("scored", "cells", "found_sizes", "true_sizes", "judged_cells"):
        con.execute(f"drop table {table}")
    return [
        *_bootstrapped(bags, resamples, seed),
        count_of("over_merged_customers", mixed, clusters),
        count_of("split_persons", split, entities),
        Metric("customer_count_error_pct", 100.0 * (clusters - entities) / entities, n=entities),
        Metric("label_coverage", labelled / rows, n=rows),
    ]


def score_edges(con: Connection, edges: str, labels: str, *, prefix: str = "edge") -> list[Metric]:
    """Score edges by themselves, before anything follows from two of them.

    Args:
        con: Any connection.
        edges: A relation with ``record_a`` and ``record_b``; both orders and repetitions of a pair count once.
        labels: A relation with ``record`` (unique) and ``truth``.
        prefix: Of the metrics' names.

    Returns:
        ``<prefix>_precision`` (of edges between labelled records) and ``<prefix>_recall`` (of all pairs of
        records of one entity, those joined by an edge of their own), with Wilson intervals.
    """
    [(true_edges, judged)] = con.execute(
        f"with labels as (select record, truth from ({_query(labels)}) where truth is not null), "
        "pairs as (select distinct least(record_a, record_b) as record_a, greatest(record_a, record_b) as record_b "
        f"from ({_query(edges)}) where record_a <> record_b) "
        "select count(*) filter (a.truth = b.truth), count(*) from pairs as p "
        "join labels as a on a.record = p.record_a join labels as b on b.record = p.record_b"
    ).fetchall()
    [(true_pairs,)] = con.execute(
        "select coalesce(sum(n * (n - 1) // 2), 0)::bigint from (select count(*) as n from "
        f"({_query(labels)}) where truth is not null group by truth)"
    ).fetchall()
    return [
        proportion(f"{prefix}_precision", true_edges, judged),
        proportion(f"{prefix}_recall", true_edges, true_pairs),
    ]


def proportion(metric: str, part: int, whole: int, *, slice: str = "") -> Metric:  # noqa: A002 - a column's name
    """Return a share with its interval by Wilson (1927), which holds near 0 and 1 and for few cases."""
    if not whole:
        return Metric(metric, None, slice=slice)
    low, high = _wilson(part, whole)
    return Metric(metric, part / whole, low, high, whole, slice)


def count_of(metric: str, part: int, whole: int) -> Metric:
    """Return a count out of ``whole``; its interval is that of the share."""
    if not whole:
        return Metric(metric, 0.0)
    low, high = _wilson(part, whole)
    return Metric(metric, float(part), low * whole, high * whole, whole)


def _wilson(part: int, whole: int) -> tuple[float, float]:
    share, square = part / whole, _NORMAL_QUANTILE**2 / whole
    middle = (share + square / 2) / (1 + square)
    reach = _NORMAL_QUANTILE * math.sqrt(share * (1 - share) / whole + square / (4 * whole)) / (1 + square)
    low = 0.0 if part == 0 else max(0.0, middle - reach)
    high = 1.0 if part == whole else min(1.0, middle + reach)
    return low, high


def _query(relation: str) -> str:
    return relation if " " in relation.strip() else f"from {relation}"


def _check(rows: int, distinct: int, labelled: int) -> None:
    if rows != distinct:
        raise StrataError(
            f"{rows - distinct} rows to score repeat a record",
            where="the table of records, clusters and truths",
            expected="each record once, in one cluster, with one truth",
            repair="leave out records that belong to more than one entity",
        )
    if not labelled:
        raise StrataError(
            "none of the records has a label",
            where="the table of records, clusters and truths",
            expected="a truth for some records at least",
            repair="check that truth and records use the same ids",
        )


def _write_cells(con: Connection) -> None:
    con.execute(
        "create or replace temp table cells as select truth, cluster, "
        "case when cluster is null then record end as loner, count(*) as n "
        "from scored where truth is not null group by all"
    )
    # Loners are clusters of one; they get their sizes without a join.
    con.execute(
        "create or replace temp table found_sizes as select cluster, sum(n)::bigint as found, count(*) as persons "
        "from cells where loner is null group by cluster union all select null, 1, 1 from cells where loner is not null"
    )
    con.execute(
        "create or replace temp table true_sizes as select truth, sum(n)::bigint as actual, count(*) as parts "
        "from cells group by truth"
    )
    # Joined by keys alone, into a table: with sizes among the conditions, a planner may join on equal sizes.
    con.execute(
        "create or replace temp table judged_cells as select c.truth, c.n, coalesce(f.found, 1) as found, t.actual "
        "from cells as c left join found_sizes as f on f.cluster = c.cluster join true_sizes as t on t.truth = c.truth"
    )


def _sum_bags(con: Connection) -> dict[str, Reals]:
    """Return sums over bags of entities; each figure is a ratio of such sums."""
    columns = con.execute(
        "with found as (select hash(truth) % $bags as bag, "
        "sum(n * (n - 1) / 2) as right_pairs, sum(n * (found - 1) / 2) as found_pairs, sum(n) as records, "
        "sum(n * n / found) as right_by_found, sum(n * n / actual) as right_by_actual, "
        "sum(n / found) as clusters, count(*) filter (n = found and n = actual) as exact "
        "from judged_cells group by bag), "
        "true_ones as (select hash(truth) % $bags as bag, sum(actual * (actual - 1) / 2) as true_pairs, "
        "count(*) as entities from true_sizes group by bag) "
        "select found.* exclude (bag), true_pairs, entities from found join true_ones using (bag) order by bag",
        {"bags": _BAGS},
    ).fetchnumpy()
    return {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}


#: Of each family of metrics, what precision and recall are shares of; what is right is the part of both.
_FAMILIES = {
    "pairwise": ("right_pairs", "found_pairs", "right_pairs", "true_pairs"),
    "b3": ("right_by_found", "records", "right_by_actual", "records"),
    "cluster": ("exact", "clusters", "exact", "entities"),
}


def _bootstrapped(bags: dict[str, Reals], resamples: int, seed: int) -> list[Metric]:
    totals = {name: values.sum(keepdims=True) for name, values in bags.items()}
    drawn = _draw(bags, resamples, seed)
    metrics = []
    for family, (right_found, found, right_actual, actual) in _FAMILIES.items():
        values = _scores(totals, right_found, found, right_actual, actual)
        spreads = _scores(drawn, right_found, found, right_actual, actual)
        for name, on in (("precision", found), ("recall", actual), ("f1", actual)):
            spread = spreads[name][~np.isnan(spreads[name])]
            low, high = np.percentile(spread, _TAILS) if len(spread) else (math.nan, math.nan)
            value = values[name][0]
            metrics.append(
                Metric(f"{family}_{name}", _number(value), _number(low), _number(high), round(totals[on][0]))
            )
    return metrics


def _scores(sums: dict[str, Reals], right_found: str, found: str, right_actual: str, actual: str) -> dict[str, Reals]:
    precision = _ratio(sums[right_found], sums[found])
    recall = _ratio(sums[right_actual], sums[actual])
    both = precision + recall
    f1 = np.where(both > 0, _ratio(2 * precision * recall, both), both)
    return {"precision": precision, "recall": recall, "f1": f1}


def _draw(bags: dict[str, Reals], resamples: int, seed: int) -> dict[str, Reals]:
    """Return each sum over bags drawn with replacement, once per resample."""
    count = len(bags["entities"])
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return {name: weights @ values for name, values in bags.items()}


def _ratio(part: Reals, whole: Reals) -> Reals:
    return np.divide(part, whole, out=np.full_like(part, math.nan), where=whole > 0)


def _number(value: float) -> float | None:
    """Round away what the order of a sum decides; ``None`` where there is no number."""
    return None if math.isnan(value) else round(float(value), 9)
