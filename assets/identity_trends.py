"""What the page of `identity.metrics` draws over runs: every score, and how runs went, as pictures.

Belongs here: which figures stand in which picture. Does not belong here: the figures
(`segmentation/identity/scorecard.py`), or pictures of one run (`identity_pages.py`).
"""

import dagster as dg

from assets.metadata import lines_chart
from segmentation.identity.scorecard import read_trend
from segmentation.warehouse import Connection

#: Pictures by the name of their entry: a title, and the metrics in them.
CHARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "pairs_by_run": ("Pairs", ("pairwise_precision", "pairwise_recall", "pairwise_f1")),
    "b3_by_run": ("B-cubed", ("b3_precision", "b3_recall", "b3_f1")),
    "whole_customers_by_run": ("Whole customers", ("cluster_precision", "cluster_recall", "cluster_f1")),
    "edges_by_run": ("Edges", ("edge_precision", "edge_recall", "blocking_recall", "recall_ceiling")),
    "mixed_by_run": (
        "Customers that mix people",
        ("over_merged_customers", "known_profiles_mixing_people", "known_profiles_with_strangers"),
    ),
    "split_persons_by_run": ("People in several customers", ("split_persons",)),
    "customer_count_error_by_run": ("Customers against people, % off", ("customer_count_error_pct",)),
    "label_coverage_by_run": ("Labelled share", ("label_coverage",)),
    "churn_by_run": ("Identifiers that changed customer, %", ("id_churn_pct", "known_id_churn_pct")),
    "ids_by_run": ("What happened to ids", ("merges", "splits", "moves")),
    "customers_by_run": ("Customers", ("n_customers",)),
    "largest_by_run": (
        "Largest component before the guards, largest customer",
        ("raw_max_component", "max_customer_nodes"),
    ),
}


def build_trends(con: Connection) -> dict[str, dg.MetadataValue]:
    """Return the pictures of metrics that any run has."""
    shown = {}
    for name, (title, metrics) in CHARTS.items():
        lines = {metric: trend for metric in metrics if (trend := read_trend(con, metric))}
        if lines:
            shown[name] = lines_chart(f"{title}, by run", lines)
    return shown
