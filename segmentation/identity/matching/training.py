"""Learning how to match from the records themselves; no labels are needed.

Belongs here: the order of the steps, and samples that keep large tables affordable. Does not belong here: the steps
(`features.py`, `blocking.py`, `scoring.py`, `estimation.py`), or where records come from (`records.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.errors import StrataError
from segmentation.identity.matching.blocking import Key, choose_keys, possible_keys, write_pairs
from segmentation.identity.matching.estimation import Patterns, estimate, first_guess, shared_attributes
from segmentation.identity.matching.features import Frequencies, count_frequencies, write_cleaned, write_features
from segmentation.identity.matching.kinds import Feature, features_of
from segmentation.identity.matching.scoring import Parameters, estimate_chance, score_pairs
from segmentation.warehouse import Connection, count

#: Records whose pairs tell how often values agree by chance.
CHANCE_RECORDS = 1_200
#: Pairs that the estimate looks at; of more, a sample by hash.
PAIRS_LEARNED_FROM = 300_000
#: Records that training looks at; of more, a sample by hash.
RECORDS_LEARNED_FROM = 300_000
#: A model from fewer records would say more about them than about others.
LEAST_RECORDS = 50


@dataclass(frozen=True, slots=True)
class Learned:
    """What training found.

    Attributes:
        kinds: Kind of each attribute that is compared, by name.
        keys: Keys that find pairs.
        parameters: Weights and prior.
        frequencies: Of frequent values, by column.
        summary: Figures about the data and the training.
    """

    kinds: Mapping[str, str]
    keys: tuple[Key, ...]
    parameters: Parameters
    frequencies: Mapping[str, Frequencies]
    summary: Mapping[str, int | float]


def learn(
    con: Connection,
    relation: str,
    kinds: Mapping[str, str],
    *,
    seed: int = 1,
    keys: Sequence[Key] = (),
    holders: str = "",
) -> Learned:
    """Learn a model; writes temporary tables of its own where the connection points, and drops them.

    Args:
        con: A connection to a database that may be written to.
        relation: Table with ``record_id`` (bigint, unique) and one column per attribute.
        kinds: Kind of each attribute, by name. Attributes that hold nothing, or one value alone, are left out.
        seed: Decides the samples; the same records and seed give the same model.
        keys: Keys to choose from; without any, all that the attributes offer.
        holders: Table with the ``holder`` of each ``record_id``: a value is kept only where several have it. Without
            it each record counts as somebody.

    Raises:
        StrataError: There is too little to learn from.
    """
    records = count(con, relation)
    if records < LEAST_RECORDS:
        raise _refused(f"there are {records} records", f"at least {LEAST_RECORDS}")
    sampled = min(records, RECORDS_LEARNED_FROM)
    if sampled < records:
        relation = (
            f"(select * from {relation} qualify row_number() over (order by hash(record_id, {seed}), record_id) "
            f"<= {sampled})"
        )
    features = features_of(kinds)
    write_cleaned(con, relation, features, "learn_cleaned")
    telling = _telling(con, "learn_cleaned", features)
    kinds = {name: kind for name, kind in kinds.items() if name in telling}
    features = features_of(kinds)
    if not features:
        raise _refused("no attribute tells records apart", "values in the columns that catalog/matching.yml names")
    frequencies = count_frequencies(con, "learn_cleaned", features, holders)
    write_features(con, "learn_cleaned", frequencies, "learn_features")
    costs = choose_keys(con, "learn_cleaned", keys or possible_keys(features, dict(kinds)), records / sampled)
    if not costs:
        raise _refused("no two records agree in anything", "records of which some are of one person")
    con.execute(
        "create or replace table learn_sample as select * from learn_features "
        f"order by hash(record_id, {seed}), record_id limit {CHANCE_RECORDS}"
    )
    chance = estimate_chance(con, "learn_sample", features)
    start = first_guess(features, chance, sampled)
    chosen = tuple(cost.key for cost in costs)
    patterns, found = _patterns(con, features, start, chosen, shared_attributes(kinds), seed)
    learned = estimate(kinds, start, patterns, sampled * (sampled - 1) / 2)
    for table in ("learn_cleaned", "learn_features", "learn_sample"):
        con.execute(f"drop table {table}")
    summary = {
        "records": records,
        "records_learned_from": sampled,
        "pairs_found": found,
        "pairs_learned_from": int(min(found, PAIRS_LEARNED_FROM)),
        "iterations": learned.iterations,
        "expected_matches": round(learned.expected_matches, 1),
    }
    return Learned(kinds, chosen, learned.parameters, frequencies, summary)


def _telling(con: Connection, cleaned: str, features: Sequence[Feature]) -> set[str]:
    """Return the attributes that have at least two values, in at least one record of a hundred."""
    columns = ", ".join(f"count({one.present}), count(distinct {one.present})" for one in features)
    row = con.execute(f"select count(*), {columns} from {cleaned}").fetchall()[0]
    records, rest = row[0], row[1:]
    filled = dict(zip((one.attribute for one in features), zip(rest[::2], rest[1::2], strict=True), strict=True))
    return {name for name, (values, distinct) in filled.items() if distinct > 1 and values * 100 >= records}


def _patterns(
    con: Connection,
    features: Sequence[Feature],
    start: Parameters,
    keys: Sequence[Key],
    shared: Sequence[str],
    seed: int,
) -> tuple[Patterns, int]:
    write_pairs(con, "learn_cleaned", keys, "learn_pairs")
    found = count(con, "learn_pairs")
    share = min(1.0, PAIRS_LEARNED_FROM / max(found, 1))
    if share < 1:
        con.execute(
            "create or replace table learn_pairs as select * from learn_pairs "
            f"where hash(join_key_l, join_key_r, {seed}) % 1000000 < {int(share * 1_000_000)}"
        )
        share = count(con, "learn_pairs") / found
    score_pairs(con, "learn_features", "learn_pairs", features, start, "learn_scored", keep_parts=True)
    gammas = [f"gamma_{one.attribute}" for one in features]
    weighed = [one for one in features if one.frequencies]
    own = [one.attribute for one in weighed if one.attribute not in shared]
    common = [one.attribute for one in weighed if one.attribute in shared]
    rows = con.execute(
        f"select {', '.join(gammas)}, {_rarity(own)} as own_rarity, {_rarity(common)} as shared_rarity, "
        "count(*) as n from learn_scored group by all order by all"
    ).fetchnumpy()
    for table in ("learn_pairs", "learn_scored"):
        con.execute(f"drop table {table}")
    columns = []
    for one, gamma in zip(features, gammas, strict=True):
        # Splink numbers levels from the weakest, 0, upwards.
        value = np.asarray(rows[gamma], dtype=np.int64)
        columns.append(np.where(value < 0, -1, len(one.levels) - 1 - value))
    return (
        Patterns(
            np.stack(columns, axis=1),
            np.asarray(rows["own_rarity"], dtype=np.float64) + np.asarray(rows["shared_rarity"], dtype=np.float64),
            np.asarray(rows["shared_rarity"], dtype=np.float64),
            np.asarray(rows["n"], dtype=np.float64) / share,
        ),
        found,
    )


def _rarity(attributes: Sequence[str]) -> str:
    """Return the SQL of whole bits that frequencies add: fine enough to learn from, and few patterns."""
    return f"round({' + '.join(f'coalesce(mw_tf_adj_{name}, 0)' for name in attributes) or '0'})::integer"


def _refused(what: str, expected: str) -> StrataError:
    return StrataError(
        f"no model can be learned: {what}",
        where="catalog/matching.yml, records",
        expected=expected,
        repair="load records first, or name other columns; then: strata matching train",
    )
