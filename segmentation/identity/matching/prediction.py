"""Matches of a table of records by a trained model: all of them, or those of new records alone.

Belongs here: the steps from raw attributes to scored pairs. Does not belong here: which records there are
(`records.py`), what was compared before (`candidates.py`), or which groups pairs make (`clusters.py`).
"""

import numpy as np

from segmentation.identity.components import Integers, fetch_integers
from segmentation.identity.matching.blocking import write_pairs
from segmentation.identity.matching.clusters import Ladder, cluster
from segmentation.identity.matching.features import write_cleaned, write_features
from segmentation.identity.matching.model import MatchingModel
from segmentation.identity.matching.scoring import score_pairs
from segmentation.warehouse import Connection


def match_records(
    con: Connection,
    relation: str,
    model: MatchingModel,
    target: str,
    *,
    least_weight: float,
    new: str | None = None,
    keep_parts: bool = False,
) -> None:
    """Write ``target``: ``record_a`` < ``record_b``, ``match_weight`` and ``match_probability`` of every match.

    The score of a pair follows from its two records and the model alone, whatever else is in the table.

    Args:
        con: A connection to a database that may be written to.
        relation: Table with ``record_id`` (bigint, unique) and one column per attribute of the model.
        model: The model.
        target: Table to write.
        least_weight: Match weight, in bits, that a match has at least.
        new: Table with the ``record_id`` of new records: matches among the others are left out.
        keep_parts: Keep what each weight is made of, as `score_pairs` names it.
    """
    features = model.features
    write_cleaned(con, relation, features, "match_cleaned")
    write_features(con, "match_cleaned", model.frequencies, "match_features")
    write_pairs(con, "match_cleaned", model.keys, "match_pairs", new=new)
    score_pairs(
        con,
        "match_features",
        "match_pairs",
        features,
        model.parameters,
        target,
        least_weight=least_weight,
        keep_parts=keep_parts,
    )
    for table in ("match_cleaned", "match_features", "match_pairs"):
        con.execute(f"drop table {table}")


def cluster_records(con: Connection, matches: str, ladder: Ladder, record_count: int) -> Integers:
    """Return the cluster of each record ``0 … record_count - 1``.

    Args:
        con: Any connection.
        matches: Table as `match_records` writes it.
        ladder: How loosely held groups are taken apart.
        record_count: How many records there are.
    """
    pairs = fetch_integers(con, f"select record_a, record_b from {matches} order by record_a, record_b")
    found = con.execute(f"select match_weight from {matches} order by record_a, record_b").fetchnumpy()
    weight = np.asarray(found["match_weight"], dtype=np.float64)
    return cluster(record_count, pairs["record_a"], pairs["record_b"], weight, ladder)
