"""Scores of a partition: equal to counting pairs one by one, whatever the partition."""

from itertools import combinations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.errors import StrataError
from segmentation.identity.evaluation import score_clusters, score_edges

#: One engine for all: what is scored leaves nothing behind.
ENGINE = duckdb.connect()

_LABELS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.one_of(st.none(), st.integers(0, 5))), min_size=1, max_size=24
).filter(lambda rows: any(truth is not None for _, truth in rows))


def _scores(rows, **options):
    """Metrics by name of rows (cluster, truth), records numbered."""
    clusters, truths = zip(*rows, strict=True)
    table = pa.table(
        {"record": range(len(rows)), "cluster": pa.array(clusters, pa.int64()), "truth": pa.array(truths, pa.int64())}
    )
    ENGINE.register("given", table)
    return {metric.metric: metric for metric in score_clusters(ENGINE, "given", **options)}


def _f1(precision, recall):
    if precision is None or recall is None:
        return None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _by_hand(rows):
    """The same from the definitions, pair by pair and record by record."""
    labelled = [
        (f"c{cluster}" if cluster is not None else f"r{number}", truth)
        for number, (cluster, truth) in enumerate(rows)
        if truth is not None
    ]
    found = {c: [t for d, t in labelled if d == c] for c, _ in labelled}
    actual = {t: [c for c, u in labelled if u == t] for _, t in labelled}
    pairs = list(combinations(labelled, 2))
    same_cluster = sum(a[0] == b[0] for a, b in pairs)
    same_truth = sum(a[1] == b[1] for a, b in pairs)
    both = sum(a == b for a, b in pairs)
    exact = sum(len(set(found[c])) == 1 and len(found[c]) == len(actual[t]) for c, t in set(labelled))
    scores = {
        "pairwise_precision": both / same_cluster if same_cluster else None,
        "pairwise_recall": both / same_truth if same_truth else None,
        "b3_precision": sum(found[c].count(t) / len(found[c]) for c, t in labelled) / len(labelled),
        "b3_recall": sum(actual[t].count(c) / len(actual[t]) for c, t in labelled) / len(labelled),
        "cluster_precision": exact / len(found),
        "cluster_recall": exact / len(actual),
        "over_merged_customers": sum(len(set(truths)) > 1 for truths in found.values()),
        "split_persons": sum(len(set(clusters)) > 1 for clusters in actual.values()),
        "customer_count_error_pct": 100 * (len(found) - len(actual)) / len(actual),
        "label_coverage": len(labelled) / len(rows),
    }
    for family in ("pairwise", "b3", "cluster"):
        scores[f"{family}_f1"] = _f1(scores[f"{family}_precision"], scores[f"{family}_recall"])
    return scores


@settings(deadline=None, max_examples=60)
@given(_LABELS)
def test_scores_equal_those_counted_pair_by_pair(rows):
    found = _scores(rows, resamples=20)
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(_by_hand(rows), abs=1e-8)


@settings(deadline=None, max_examples=60)
@given(_LABELS)
def test_an_interval_has_its_ends_in_order(rows):
    for metric in _scores(rows, resamples=20).values():
        if metric.ci_low is not None:
            assert metric.ci_low <= metric.ci_high


def test_a_right_partition_scores_one_everywhere():
    found = _scores([(number // 3, number // 3) for number in range(300)])
    for family in ("pairwise", "b3", "cluster"):
        metric = found[f"{family}_f1"]
        assert (metric.value, metric.ci_low, metric.ci_high) == (1, 1, 1)
    assert found["over_merged_customers"].value == found["split_persons"].value == 0


def test_intervals_cover_the_value_and_narrow_with_more_entities():
    def rows(entities):
        return [(entity if entity % 5 else -1 - record, entity) for entity in range(entities) for record in range(4)]

    few, many = (_scores(rows(entities))["pairwise_recall"] for entities in (50, 5_000))
    for metric in (few, many):
        assert metric.ci_low < metric.value < metric.ci_high
    assert many.ci_high - many.ci_low < (few.ci_high - few.ci_low) / 5
    # A fifth of the entities is torn apart: the share's own interval is known.
    assert many.ci_high - many.ci_low == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 5_000) ** 0.5, rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    rows = [(number % 7, number // 3) for number in range(60)]
    assert _scores(rows, seed=3) == _scores(rows, seed=3)


def test_a_giant_cluster_costs_no_pairs():
    with duckdb.connect() as con:
        con.execute("set memory_limit = '200MB'")
        query = "select range as record, 1 as cluster, range // 2 as truth from range(1_000_000)"
        found = {metric.metric: metric.value for metric in score_clusters(con, query, resamples=10)}
    assert found["pairwise_precision"] == pytest.approx(500_000 / (1_000_000 * 999_999 / 2), abs=1e-9)
    assert found["pairwise_recall"] == 1
    assert found["over_merged_customers"] == 1


def test_a_repeated_record_is_refused():
    with pytest.raises(StrataError, match="1 rows to score repeat a record"):
        score_clusters(ENGINE, "select * from (values (1, 1, 1), (1, 2, 1)) as t(record, cluster, truth)")


def test_without_any_label_there_is_no_score():
    with pytest.raises(StrataError, match="none of the records has a label"):
        score_clusters(ENGINE, "select 1 as record, 1 as cluster, null::integer as truth")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=8, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20),
)
def test_edges_are_scored_before_closure(truths, edges):
    ENGINE.register("labels", pa.table({"record": range(8), "truth": pa.array(truths, pa.int64())}))
    a, b = zip(*edges, strict=True) if edges else ((), ())
    ENGINE.register("edges", pa.table({"record_a": pa.array(a, pa.int64()), "record_b": pa.array(b, pa.int64())}))
    precision, recall = score_edges(ENGINE, "edges", "labels")
    judged = {frozenset(e) for e in edges if e[0] != e[1] and None not in {truths[e[0]], truths[e[1]]}}
    right = {pair for pair in judged if len({truths[end] for end in pair}) == 1}
    true_pairs = sum(a == b for a, b in combinations([t for t in truths if t is not None], 2))
    assert precision.value == (pytest.approx(len(right) / len(judged)) if judged else None)
    assert recall.value == (pytest.approx(len(right) / true_pairs) if true_pairs else None)
    assert (precision.n, recall.n) == (len(judged), true_pairs)
