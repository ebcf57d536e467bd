"""Splink's part: how likely two records are one person's, by the model of Fellegi and Sunter (1969).

Belongs here: everything that names Splink; it is imported when it is needed and not before. Does not belong here:
finding pairs (`blocking.py`), or learning the parameters (`estimation.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segmentation.identity.matching.kinds import Feature
from segmentation.warehouse import Connection

#: The least probability of chance agreement that a frequency may claim.
_LEAST_CHANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters of one comparison, one pair of numbers per level in the feature's order.

    Attributes:
        matches: Probability of the level among records of one person.
        others: Probability among records of two.
    """

    matches: tuple[float, ...]
    others: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two persons who share what people share: a home, a surname, a firm.

    Attributes:
        prior: Probability that two records drawn at random are neighbours'.
        levels: By attribute that neighbours may share, the probability of each level among them. An attribute that is
            missing here is as different as by chance.
    """

    prior: float
    levels: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is learned.

    Attributes:
        prior: Probability that two records drawn at random are one person's.
        weights: By attribute.
        neighbours: Persons who resemble each other without being one; ``None`` where nothing tells them apart.
    """

    prior: float
    weights: Mapping[str, Weights]
    neighbours: Neighbours | None = None


def comparison_settings(features: Sequence[Feature], parameters: Parameters | None) -> list[dict[str, Any]]:
    """Return the comparisons of features as Splink writes them."""
    comparisons = []
    for feature in features:
        known = parameters.weights[feature.attribute] if parameters else None
        levels: list[dict[str, Any]] = [
            {
                "sql_condition": " or ".join(
                    filter(None, (f"{feature.present}_l is null or {feature.present}_r is null", feature.silent))
                ),
                "label_for_charts": "nothing to compare",
                "is_null_level": True,
            }
        ]
        for index, level in enumerate(feature.levels):
            one: dict[str, Any] = {"sql_condition": level.condition, "label_for_charts": level.label}
            if level.frequency:
                one |= {"tf_adjustment_column": level.frequency, "tf_minimum_u_value": _LEAST_CHANCE}
            if known:
                one |= {"m_probability": known.matches[index], "u_probability": known.others[index]}
            levels.append(one)
        comparisons.append({"output_column_name": feature.attribute, "comparison_levels": levels})
    return comparisons


def splink_settings(
    features: Sequence[Feature], parameters: Parameters | None, *, keep_parts: bool = False
) -> dict[str, Any]:
    """Return a whole model as Splink reads it; ``keep_parts`` keeps what the weight is made of."""
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "record_id",
        "comparisons": comparison_settings(features, parameters),
        "blocking_rules_to_generate_predictions": ["1=0"],
        "probability_two_random_records_match": parameters.prior if parameters else 1e-4,
        "retain_matching_columns": keep_parts,
        "retain_intermediate_calculation_columns": keep_parts,
    }


def estimate_chance(con: Connection, table: str, features: Sequence[Feature]) -> dict[str, tuple[float, ...]]:
    """Return how often each level is reached by chance: over all pairs of the records in ``table``.

    Args:
        con: A connection that Splink may write its tables to.
        table: A sample of records, small enough to compare each with each.
        features: Of the attributes.

    Returns:
        By attribute, one probability per level; levels never seen get the probability of half a pair.
    """
    records = int(con.execute(f"select count(*) from {table}").fetchall()[0][0])
    pairs = max(records * (records - 1) / 2, 1.0)
    linker = _linker(con, table, splink_settings(features, None))
    linker.training.estimate_u_using_random_sampling(max_pairs=4 * pairs + 100, min_count_per_level=None, num_chunks=1)
    found = {}
    for comparison in linker._settings_obj.core_model_settings.comparisons:  # noqa: SLF001 - there is no other way
        levels = [level for level in comparison.comparison_levels if not level.is_null_level]
        seen = [level.u_probability for level in levels]
        floored = [max(one, 0.5 / pairs) if isinstance(one, float) else 0.5 / pairs for one in seen]
        found[comparison.output_column_name] = tuple(one / sum(floored) for one in floored)
    _clean_up(linker)
    return found


def score_pairs(
    con: Connection,
    table: str,
    pairs: str,
    features: Sequence[Feature],
    parameters: Parameters,
    target: str,
    *,
    least_weight: float | None = None,
    keep_parts: bool = False,
) -> None:
    """Write ``target``: ``record_a`` < ``record_b``, ``match_weight`` (bits) and ``match_probability`` of given pairs.

    Args:
        con: A connection that Splink may write its tables to.
        table: Records with cleaned columns and frequencies.
        pairs: Pairs as `blocking.write_pairs` writes them.
        features: Of the attributes.
        parameters: Of the model.
        target: Table to write.
        least_weight: Leave out pairs below this weight.
        keep_parts: Add, per attribute, ``gamma_…`` (level), ``mw_…`` (weight) and ``mw_tf_adj_…`` (frequency).
    """
    neighbours = parameters.neighbours
    needs_parts = keep_parts or neighbours is not None
    linker = _linker(con, table, splink_settings(features, parameters, keep_parts=needs_parts))
    api = linker._db_api  # noqa: SLF001 - Splink names its own interface so
    linker.table_management.register_blocked_pairs_for_predict(api.register(pairs))
    scored = linker.inference.predict(threshold_match_weight=least_weight, warning_mode="never")
    parts = ", * exclude (record_id_l, record_id_r, match_weight, match_probability)" if keep_parts else ""
    likeness = _likeness(features, parameters) if neighbours else None
    weight = f"match_weight - log2(1 + pow(2.0, least({likeness}, 500)))" if likeness else "match_weight"
    kept = f"where weight >= {least_weight!r}" if least_weight is not None else ""
    con.execute(
        f"create or replace table {target} as select record_id_l as record_a, record_id_r as record_b, "
        f"weight as match_weight, 1 / (1 + pow(2.0, -greatest(least(weight, 500), -500))) as match_probability{parts} "
        f"from (select *, {weight} as weight from {scored.physical_name}) {kept}"
    )
    scored.drop_table_from_database_and_remove_from_cache()
    _clean_up(linker)


def _likeness(features: Sequence[Feature], parameters: Parameters) -> str:
    """Return the SQL of the bits by which neighbours explain a pair better than chance does."""
    neighbours = parameters.neighbours
    if neighbours is None:
        return "0"
    bits = [repr(math.log2(neighbours.prior / (1 - parameters.prior - neighbours.prior)))]
    for feature in features:
        shared = neighbours.levels.get(feature.attribute)
        if shared is None:
            continue
        others = parameters.weights[feature.attribute].others
        # Splink numbers levels from the weakest, 0, upwards.
        whens = " ".join(
            f"when {len(others) - 1 - index} then {math.log2(n / u)!r}"
            for index, (n, u) in enumerate(zip(shared, others, strict=True))
        )
        bits.append(f"(case gamma_{feature.attribute} {whens} else 0 end)")
        if feature.frequencies:
            bits.append(f"coalesce(mw_tf_adj_{feature.attribute}, 0)")
    return " + ".join(bits)


def weight_of(probability: float) -> float:
    """Return a probability as a match weight: the base-2 logarithm of its odds."""
    return math.log2(probability / (1 - probability))


def _linker(con: Connection, table: str, settings: Mapping[str, Any]) -> Any:
    from splink import DuckDBAPI, Linker  # noqa: PLC0415 - takes a third of a second, and most runs need none

    api = DuckDBAPI(con)
    return Linker(api.register(table), dict(settings), log_level=None, validate_settings=False)


def _clean_up(linker: Any) -> None:
    linker.table_management.delete_tables_created_by_splink_from_db()
