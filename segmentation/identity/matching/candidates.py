"""Pairs that look like one person's, kept from run to run: only records that are new or changed are compared.

Belongs here: bringing ``identity.match_candidates`` up to date with the records and the model. Does not belong here:
comparing (`prediction.py`), or what comes of a pair (`links.py`, `labels.py`).

A pair's weight follows from its two records and the model alone, so pairs of unchanged records stand as they are. What
finds a pair follows from the others, too: a key that more than `blocking.BLOCK_LIMIT` records share finds nothing.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.matching.catalog import MatchingDefinition, load_matching
from segmentation.identity.matching.model import MatchingModel
from segmentation.identity.matching.model_files import fingerprint, load_model
from segmentation.identity.matching.prediction import match_records
from segmentation.identity.matching.records import write_records
from segmentation.identity.matching.workshop import hand_over, workshop
from segmentation.run import Run
from segmentation.warehouse import Connection, count, literal, quote

#: Parts of a weight that no attribute has.
PRIOR, NEIGHBOURS = "any two records", "neighbours"
#: Level of an attribute that one of the records says nothing about.
NOTHING = "nothing to compare"


@dataclass(frozen=True, slots=True)
class Matching:
    """Matching as it is in force."""

    definition: MatchingDefinition
    model: MatchingModel

    @property
    def fingerprint(self) -> str:
        """What decides the weight of a pair: the model, and what is read where."""
        told = [fingerprint(self.model), dict(self.definition.attributes), dict(self.definition.records)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def basis(self) -> str:
        """What decides which pairs are kept."""
        return f"{self.fingerprint} from {self.definition.review_from!r}"


def load_matching_in_force(catalog: Path, models: Path) -> Matching | None:
    """Return what runs match by; ``None`` where matching is off.

    Raises:
        CatalogProblems: The catalog says something that can't be meant.
        NotFoundError: There is no model of the version that it names.
    """
    definition = load_matching(catalog)
    if definition is None or not definition.enabled or definition.model is None:
        return None
    return Matching(definition, load_model(models, definition.model))


def update_candidates(con: Connection, run: Run, rules: IdentifierRules, matching: Matching) -> int:
    """Bring ``identity.match_candidates`` up to date; return how many records had to be compared.

    Reads temporary table ``excluded``; runs inside the caller's transaction. New pairs have the state ``review``.
    """
    _forget_other_bases(con, matching)
    write_records(con, run, rules, matching.definition, "match_now", excluded="(select node_id from excluded)")
    values = ", ".join(quote(name) for name in matching.definition.attributes)
    con.execute(
        f"create or replace temp table match_hashes as select record_id as node_id, hash({values}) as content_hash "
        "from match_now"
    )
    con.execute(
        "create or replace temp table match_fresh as select node_id from match_hashes "
        "anti join identity.match_records using (node_id, content_hash)"
    )
    con.execute(
        "create or replace temp table match_stale as select node_id from identity.match_records "
        "anti join match_hashes using (node_id, content_hash)"
    )
    con.execute(
        "delete from identity.match_candidates where node_a in (select node_id from match_stale) "
        "or node_b in (select node_id from match_stale)"
    )
    con.execute("delete from identity.match_records where node_id in (select node_id from match_stale)")
    fresh = count(con, "match_fresh")
    if fresh:
        _compare(con, run, matching)
        con.execute("insert into identity.match_records from match_hashes semi join match_fresh using (node_id)")
    for table in ("match_now", "match_hashes", "match_fresh", "match_stale"):
        con.execute(f"drop table {table}")
    return fresh


def _forget_other_bases(con: Connection, matching: Matching) -> None:
    if con.execute("select fingerprint from identity.match_basis").fetchall() == [(matching.basis,)]:
        return
    for table in ("match_candidates", "match_records", "match_basis"):
        con.execute(f"delete from identity.{table}")
    con.execute("insert into identity.match_basis values (?)", [matching.basis])


def _compare(con: Connection, run: Run, matching: Matching) -> None:
    """Add the pairs with at least one fresh record."""
    with workshop(con, "match_now") as own:
        hand_over(con, "select node_id as record_id from match_fresh", own, "newcomers")
        match_records(
            own,
            "records",
            matching.model,
            "matches",
            least_weight=matching.definition.least_weight,
            new="newcomers",
            keep_parts=True,
        )
        pairs = (
            "select record_a as node_a, record_b as node_b, match_weight, match_probability, "
            f"{_parts(matching.model)} as parts from matches"
        )
        hand_over(own, pairs, con, "match_found")
    con.execute(
        "insert into identity.match_candidates by name select *, $version as model_version, 'review' as state, "
        "$as_of as found_at, $run_id as run_id, $recorded_at as recorded_at from match_found",
        {
            "version": matching.model.version,
            "as_of": run.as_of,
            "run_id": run.run_id,
            "recorded_at": run.recorded_at,
        },
    )
    con.execute("drop table match_found")


def _parts(model: MatchingModel) -> str:
    """Return the SQL of what a weight is the sum of, one part per attribute."""
    prior = math.log2(model.parameters.prior / (1 - model.parameters.prior))
    parts = [(literal(PRIOR), "''", repr(prior))]
    for one in model.features:
        # Splink numbers levels from the weakest, 0, upwards; -1 stands for nothing to compare.
        whens = " ".join(
            f"when {len(one.levels) - 1 - index} then {literal(level.label)}" for index, level in enumerate(one.levels)
        )
        rarity = f" + coalesce(mw_tf_adj_{one.attribute}, 0)" if one.frequencies else ""
        label = f"case gamma_{one.attribute} {whens} else {literal(NOTHING)} end"
        parts.append((literal(one.attribute), label, f"coalesce(mw_{one.attribute}, 0){rarity}"))
    told = " + ".join(f"({bits})" for _, _, bits in parts)
    if model.parameters.neighbours:
        parts.append((literal(NEIGHBOURS), "''", f"match_weight - ({told})"))
    structs = ", ".join(f"{{'attribute': {name}, 'level': {level}, 'bits': {bits}}}" for name, level, bits in parts)
    return f"[{structs}]"
