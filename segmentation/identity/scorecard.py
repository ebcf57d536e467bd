"""How right published identity is, against labels, and what every run keeps of how it went.

Belongs here: scores of the published map and its edges, and ``identity.metrics``. Does not belong here: scores of
plain tables (`evaluation.py`), or reading labels (`truth.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from segmentation.contracts import ensure_schema, latest_candidate
from segmentation.errors import CandidateError, NotFoundError
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import fetch_integers, label_components
from segmentation.identity.evaluation import Metric, count_of, proportion, score_clusters, score_edges
from segmentation.identity.sizes import CLASSES, CUSTOMERS, RAW
from segmentation.identity.truth import Truth, read_truth
from segmentation.run import Run
from segmentation.warehouse import Connection, literal, transaction

#: Figures of a candidate that are kept per run, in the order to show them.
_KEPT = (
    "n_customers",
    "n_identifiers",
    "n_edges",
    "raw_max_component",
    "raw_components_over_limit",
    "max_customer_nodes",
    "creates",
    "merges",
    "splits",
    "moves",
    "retired",
    "n_contradictions",
    "rows_reattributed",
)


@dataclass(frozen=True, slots=True)
class Scorecard:
    """How one published run scored.

    Attributes:
        run_id: The run that published.
        as_of: The moment it describes.
        truth: The labels.
        metrics: The scores, those that matter most first.
    """

    run_id: str
    as_of: datetime
    truth: Truth
    metrics: tuple[Metric, ...]


def evaluate(
    con: Connection, path: Path, rules: IdentifierRules, *, recorded_at: datetime, keep: bool = True
) -> Scorecard:
    """Score published identity against the labels in a file, and keep the scores with the run that published it.

    Scoring the same run again replaces its scores.

    Args:
        con: The warehouse, or, where nothing is kept, the readers' copy.
        path: The labels.
        rules: Give the normal forms of values.
        recorded_at: Now.
        keep: Whether to keep the scores.

    Raises:
        NotFoundError: Nothing is published, or there is no such file.
        SourceError: The file can't be used.
    """
    if keep:
        ensure_schema(con, "identity")
    run = _published_run(con, recorded_at)
    truth = read_truth(con, path, rules)
    metrics = score_published(con, rules)
    con.execute("drop table labels")
    if keep:
        _keep(con, run, metrics, truth.name)
    return Scorecard(run.run_id, run.as_of, truth, tuple(metrics))


def _published_run(con: Connection, recorded_at: datetime) -> Run:
    served = latest_candidate(con, "identity", published=True)
    if served is None:
        raise NotFoundError(
            "identity has not been published yet",
            where="identity.identifier_map",
            expected="a published run to score",
            repair="strata run",
        )
    return Run(served.run_id, served.as_of, recorded_at)


def score_published(con: Connection, rules: IdentifierRules) -> list[Metric]:
    """Score the published map and edges against temporary table ``labels(record, truth)``, by node id.

    Beyond `evaluation.score_clusters`: ``known_profiles_mixing_people`` (customers with accounts of several
    people: the harm), ``known_profiles_with_strangers`` (those of one person that hold any identifier of
    another), ``edge_…`` (admitted edges before closure), ``blocking_recall`` (pairs that any edge joins, also
    a refused one), ``recall_ceiling`` (what all edges but the wrong ones connect: no rule can find more).
    """
    members = (
        "select l.record, m.customer_id as cluster, l.truth from labels as l "
        "left join identity.identifier_map as m on m.node_id = l.record"
    )
    edges = "select node_a as record_a, node_b as record_b from identity.edges"
    blocking = score_edges(con, edges, "labels", prefix="blocking")
    return [
        *score_clusters(con, members),
        *_count_mixed(con, rules),
        *score_edges(con, f"{edges} where admitted", "labels"),
        *(metric for metric in blocking if metric.metric == "blocking_recall"),
        _find_ceiling(con),
    ]


def keep_run_figures(con: Connection, *, recorded_at: datetime) -> list[Metric]:
    """Keep how the published run went, labels or not: sizes, what guards refused, what happened to ids.

    Keeping them again for the same run changes nothing.

    Returns:
        The figures: those of ``identity.candidate``, ``edges_rejected`` by rule, ``match_rate_pct`` by source,
        ``rows_reattributed`` by entity, ``raw_components`` and ``customers`` by size, and ``id_churn_pct`` and
        ``known_id_churn_pct``: of the identifiers that had a customer before, those that now have another.

    Raises:
        NotFoundError: Nothing is published.
        CandidateError: The newest candidate is not the published one, so its figures are not those of what is read.
    """
    ensure_schema(con, "identity")
    run = _published_run(con, recorded_at)
    newest = latest_candidate(con, "identity")
    if newest is None or newest.run_id != run.run_id:
        raise CandidateError(
            "the figures of identity are those of a candidate that is not published",
            where="identity.candidate",
            expected=f"the candidate of run {run.run_id}",
            repair="strata run --from identity",
        )
    values = con.execute(f"select {', '.join(_KEPT)}, known_moved, known_before from identity.candidate").fetchall()[0]
    metrics = [Metric(name, float(value), n=1) for name, value in zip(_KEPT, values, strict=False)]
    moved, before = values[len(_KEPT) :]
    metrics += [_percentage("known_id_churn_pct", moved, before), _count_moved(con, run)]
    rejected = con.execute(
        "select reject_rule, count(*), sum(count(*)) over () from identity.edges where not admitted "
        "group by reject_rule order by reject_rule"
    ).fetchall()
    metrics += [Metric("edges_rejected", float(n), n=int(total), slice=rule) for rule, n, total in rejected]
    metrics += _count_attributed(con) + _count_sizes(con)
    _keep(con, run, metrics, None)
    return metrics


def _count_attributed(con: Connection) -> list[Metric]:
    """Return the share of rows of known customers, by source, and the rows that changed hands, by entity."""
    by_source = con.execute(
        "select source, sum(n_rows_known)::bigint, sum(n_rows)::bigint from identity.attributions group by 1 order by 1"
    ).fetchall()
    by_entity = con.execute(
        "select entity, sum(n_rows_reattributed)::bigint, sum(n_rows)::bigint from identity.attributions "
        "group by 1 order by 1"
    ).fetchall()
    return [
        *(Metric("match_rate_pct", 100 * known / n, n=n, slice=source) for source, known, n in by_source),
        *(Metric("rows_reattributed", float(moved), n=n, slice=entity) for entity, moved, n in by_entity),
    ]


def _count_sizes(con: Connection) -> list[Metric]:
    """Return how many components there were of each size before the guards, and how many customers after them."""
    metrics = []
    for metric, prefix in (("raw_components", RAW), ("customers", CUSTOMERS)):
        [counts] = con.execute(
            f"select {', '.join(f'{prefix}{name}' for name in CLASSES)} from identity.candidate"
        ).fetchall()
        metrics += [
            Metric(metric, float(n), n=sum(counts), slice=name) for name, n in zip(CLASSES, counts, strict=True)
        ]
    return metrics


def read_trend(con: Connection, metric: str, *, last: int = 60) -> dict[datetime, float]:
    """Return a metric over runs, the newest ``last`` of them, oldest first; one value per moment."""
    rows = con.execute(
        "select as_of, arg_max(value, recorded_at) from identity.metrics where metric = ? and slice = '' "
        "and value is not null group by as_of order by as_of desc limit ?",
        [metric, last],
    ).fetchall()
    return dict(reversed(rows))


def _keep(con: Connection, run: Run, metrics: Sequence[Metric], truth: str | None) -> None:
    columns = ("metric", "slice", "value", "ci_low", "ci_high", "n")
    con.register("kept", pa.Table.from_pylist([{name: getattr(one, name) for name in columns} for one in metrics]))
    with transaction(con):
        con.execute(
            "delete from identity.metrics where run_id = ? and truth is not distinct from ?", [run.run_id, truth]
        )
        con.execute(
            "insert into identity.metrics by name select *, $run_id as run_id, $as_of as as_of, $truth as truth, "
            "$recorded_at as recorded_at from kept",
            {"run_id": run.run_id, "as_of": run.as_of, "truth": truth, "recorded_at": run.recorded_at},
        )
    con.unregister("kept")


def _percentage(name: str, part: int, whole: int) -> Metric:
    share = proportion(name, part, whole)
    if share.value is None or share.ci_low is None or share.ci_high is None:
        return share
    return Metric(name, 100 * share.value, 100 * share.ci_low, 100 * share.ci_high, whole)


def _count_moved(con: Connection, run: Run) -> Metric:
    """Compare who an identifier belonged to before this run's moment with who it belongs to from then on."""
    [(moved, before)] = con.execute(
        "with spells as (select node_id, valid_from, valid_to, run_id from identity.identifier_map_history "
        "where valid_from <= $as_of and (valid_to is null or valid_to >= $as_of)), "
        "begun as (select node_id from spells where valid_from = $as_of and run_id = $run_id) "
        "select count(*) filter (valid_to = $as_of and node_id in (select node_id from begun)), "
        "count(*) from spells where valid_from < $as_of",
        {"as_of": run.as_of, "run_id": run.run_id},
    ).fetchall()
    return _percentage("id_churn_pct", moved, before)


def _count_mixed(con: Connection, rules: IdentifierRules) -> list[Metric]:
    accounts = ", ".join(literal(name) for name, kind in rules.identifiers.items() if kind.priority == 0)
    [(known, mixing, with_strangers)] = con.execute(
        "with held as (select m.customer_id, l.truth, "
        f"i.id_type in ({accounts}) as is_account from labels as l "
        "join identity.identifier_map as m on m.node_id = l.record "
        "join identity.identifiers as i on i.node_id = l.record), "
        "customers as (select customer_id, count(distinct truth) as people, "
        "count(distinct truth) filter (is_account) as account_owners from held group by customer_id) "
        "select count(*) filter (account_owners > 0), count(*) filter (account_owners > 1), "
        "count(*) filter (account_owners > 0 and people > 1) from customers"
    ).fetchall()
    return [
        count_of("known_profiles_mixing_people", mixing, known),
        count_of("known_profiles_with_strangers", with_strangers, known),
    ]


def _find_ceiling(con: Connection) -> Metric:
    """Close over all edges but those known to be wrong, whatever was made of them."""
    [(node_count,)] = con.execute("select coalesce(max(node_id), -1) + 1 from identity.identifiers").fetchall()
    pairs = fetch_integers(
        con,
        "select e.node_a, e.node_b from identity.edges as e left join labels as a on a.record = e.node_a "
        "left join labels as b on b.record = e.node_b where coalesce(a.truth = b.truth, true)",
    )
    labels = label_components(node_count, pairs["node_a"], pairs["node_b"])
    con.register("connected", pa.table({"record": np.arange(node_count), "component": labels}))
    [(reachable, true_pairs)] = con.execute(
        "with cells as (select l.truth, c.component, count(*) as n from labels as l join connected as c using (record) "
        "group by all) select coalesce(sum(n * (n - 1) // 2), 0)::bigint, (select coalesce(sum(n * (n - 1) // 2), "
        "0)::bigint from (select sum(n) as n from cells group by truth)) from cells"
    ).fetchall()
    con.unregister("connected")
    return proportion("recall_ceiling", reachable, true_pairs)
