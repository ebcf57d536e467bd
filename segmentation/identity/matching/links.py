"""Matches as evidence of tier 4: the weakest there is, under the same guards as all other.

Belongs here: which pairs are linked and which kept apart, and what an admitted match means for the customer. Does not
belong here: finding pairs (`candidates.py`), what people say of them (`labels.py`), or admitting (`admission.py`).

A match joins what identifiers leave apart and nothing else: strong evidence goes first, so no match takes an edge's
place. What is granted on one side of a match is not granted on the other (`consents.py`), for only people's own
identifiers speak for them.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmentation.identity.admission import LABELLED, MATCH_TIER
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.components import Integers, fetch_integers, label_components
from segmentation.identity.matching.candidates import Matching, update_candidates
from segmentation.identity.matching.clusters import climb
from segmentation.identity.matching.labels import assess
from segmentation.identity.matching.read_now import read_labels
from segmentation.run import Run
from segmentation.warehouse import Connection

#: Source of matches among edges.
SOURCE = "matching"

#: Figures of a candidate, where matching is off.
FIGURES: dict[str, int | float] = {
    "match_records_compared": 0,
    "n_match_links": 0,
    "n_match_links_automatic": 0,
    "n_match_links_new": 0,
    "n_labels_contradicted": 0,
    "match_precision_low": 0.0,
    "match_precision_least": 0.0,
}


@dataclass(frozen=True, slots=True)
class Pieces:
    """What identifiers connect, before the guards.

    Attributes:
        node_ids: Nodes with any edge, ascending.
        labels: Piece of each.
    """

    node_ids: Integers
    labels: Integers

    @classmethod
    def of(cls, node_a: Integers, node_b: Integers) -> "Pieces":
        """Return the pieces that edges connect."""
        ids, codes = np.unique(np.concatenate([node_a, node_b]), return_inverse=True)
        return cls(ids, label_components(len(ids), codes[: len(node_a)], codes[len(node_a) :]))

    def find(self, nodes: Integers) -> Integers:
        """Return the piece of each node; one without edges is a piece of its own, below zero."""
        if not len(self.node_ids):
            return -1 - nodes
        places = np.minimum(np.searchsorted(self.node_ids, nodes), len(self.node_ids) - 1)
        return np.where(self.node_ids[places] == nodes, self.labels[places], -1 - nodes)


def add_matches(con: Connection, run: Run, rules: IdentifierRules, matching: Matching | None) -> dict[str, int | float]:
    """Add matches to ``links``, and write the pairs that people said are no match.

    Reads temporary tables ``nodes``, ``excluded``, ``links`` and ``owner_pairs``, before admission. Writes
    ``match_said`` (what people said, by the nodes that stand for their records now), ``match_links(node_a, node_b,
    is_automatic)`` and ``match_bars(node_a, node_b, rule_id)``, which admission keeps apart. Two records of one type
    that people call one person's count as one towards ``max_per_customer`` (R5), as they do by a must-link.

    Returns:
        Figures for the gate, `FIGURES` where matching is off.
    """
    con.execute("create or replace temp table match_links (node_a bigint, node_b bigint, is_automatic boolean)")
    con.execute("create or replace temp table match_parts (node_id bigint, part bigint)")
    con.execute("create or replace temp table match_bars (node_a bigint, node_b bigint, rule_id varchar)")
    if matching is None:
        return dict(FIGURES)
    compared = update_candidates(con, run, rules, matching)
    precision = assess(con, matching, rules.email_providers)
    con.execute(f"create or replace temp table match_said as from {read_labels(rules.email_providers)}")
    _write_labelled(con)
    _keep_apart(con)
    labelled = _count(con, "match_links")
    if precision.suffices and _count(con, "identity.match_candidates") > 0:
        _write_automatic(con, rules, matching, Pieces.of(*_edges(con, "reject_rule is null")))
    _write_links(con)
    con.execute(
        "insert into owner_pairs select m.node_a, m.node_b from match_links as m "
        "join nodes as a on a.node_id = m.node_a join nodes as b on b.node_id = m.node_b where not m.is_automatic "
        "and a.id_type = b.id_type and a.id_namespace = b.id_namespace"
    )
    links = _count(con, "match_links")
    return FIGURES | {
        "match_records_compared": compared,
        "n_match_links": links,
        "n_match_links_automatic": links - labelled,
        "match_precision_low": precision.low or 0.0,
        "match_precision_least": precision.least or 0.0,
    }


def mark_matched_customers(con: Connection) -> None:
    """Say of customers that nothing but admitted matches holds together that they are ``probabilistic``.

    Reads what was solved: temporary tables ``links`` and ``components``, and the candidate's customers and map.
    """
    if not _write_parts(con):
        return
    con.execute(
        "update identity.candidate_customers set match_basis = 'probabilistic' where match_basis = 'deterministic' "
        "and customer_id in (select m.customer_id from match_parts as p "
        "join identity.candidate_identifier_map as m using (node_id))"
    )


def settle_matches(con: Connection, matching: Matching | None) -> dict[str, int | float]:
    """Say what became of matches, once customers are assigned and edges written.

    Fills ``match_parts``: for customers that matches hold together, what identifiers alone would connect. Names matches
    as causes of merges, and gives every pair its state.

    Returns:
        Figures: admitted automatic links that join what published identity does not hold together yet, and pairs of
        which people say that they are no match and that are one customer's all the same.
    """
    if matching is None:
        return {}
    _write_parts(con)
    _name_causes(con)
    con.execute(
        "update identity.match_candidates set state = s.state from ("
        "select c.node_a, c.node_b, coalesce(l.verdict, case when m.is_automatic then 'automatic' "
        "when a.component = b.component and p.part is not distinct from q.part then 'evident' else 'review' end) "
        "as state from identity.match_candidates as c left join match_said as l using (node_a, node_b) "
        "left join match_links as m using (node_a, node_b) "
        "left join components as a on a.node_id = c.node_a left join components as b on b.node_id = c.node_b "
        "left join match_parts as p on p.node_id = c.node_a left join match_parts as q on q.node_id = c.node_b) as s "
        "where s.node_a = match_candidates.node_a and s.node_b = match_candidates.node_b "
        "and s.state <> match_candidates.state"
    )
    return {"n_match_links_new": _count_new(con), "n_labels_contradicted": _count_contradicted(con)}


def _count_new(con: Connection) -> int:
    [(new,)] = con.execute(
        f"select count(*) from ({_ADMITTED}) as l semi join (from match_links where is_automatic) as m "
        "using (node_a, node_b) anti join (select node_a, node_b from identity.edges "
        f"where source = '{SOURCE}' and admitted) as e using (node_a, node_b) "
        # Where the state was restored there are no edges, but the map knows whom they joined.
        "left join identity.identifier_map as a on a.node_id = l.node_a "
        "left join identity.identifier_map as b on b.node_id = l.node_b where a.customer_id is null "
        "or b.customer_id is null or a.customer_id <> b.customer_id"
    ).fetchall()
    return int(new)


def _count_contradicted(con: Connection) -> int:
    [(contradicted,)] = con.execute(
        "select count(*) from match_said as s join identity.candidate_identifier_map as a on a.node_id = s.node_a "
        "join identity.candidate_identifier_map as b on b.node_id = s.node_b "
        "where s.verdict = 'no_match' and a.customer_id = b.customer_id"
    ).fetchall()
    return int(contradicted)


#: Pairs whose records are both still there and may link.
_MAY_LINK = (
    "node_a in (select node_id from nodes) and node_b in (select node_id from nodes) "
    "and node_a not in (select node_id from excluded) and node_b not in (select node_id from excluded)"
)
_ADMITTED = f"select node_a, node_b from links where tier = {MATCH_TIER} and reject_rule is null"


def _count(con: Connection, table: str) -> int:
    return int(con.execute(f"select count(*) from {table}").fetchall()[0][0])


def _edges(con: Connection, condition: str) -> tuple[Integers, Integers]:
    found = fetch_integers(con, f"select node_a, node_b from links where {condition}")
    return found["node_a"], found["node_b"]


def _write_labelled(con: Connection) -> None:
    """Link what people call a match, where both records are still there and may link."""
    con.execute(
        "insert into match_links select node_a, node_b, false from match_said where verdict = 'match' "
        f"and node_a <> node_b and {_MAY_LINK}"
    )


def _write_automatic(con: Connection, rules: IdentifierRules, matching: Matching, pieces: Pieces) -> None:
    """Link the strongest pairs that nobody labelled, that hang together densely and that identifiers leave apart.

    Of several records of a type of which a customer holds one, a record is linked with the likeliest alone, and only
    where it is the likeliest for that one, too: what admission would have to choose between, it would by age. A
    record that people linked with one of that type and namespace is linked with no other. ``max_links`` limits what
    is new.
    """
    automatic = matching.definition.automatic
    if automatic is None:
        return
    found = fetch_integers(
        con,
        "select node_a, node_b, l.verdict is null as is_open from identity.match_candidates "
        "left join match_said as l using (node_a, node_b) "
        "where l.verdict is distinct from 'no_match' order by node_a, node_b",
    )
    weight = np.asarray(
        con.execute(
            "select match_weight from identity.match_candidates left join match_said as l "
            "using (node_a, node_b) where l.verdict is distinct from 'no_match' order by node_a, node_b"
        ).fetchnumpy()["match_weight"],
        dtype=np.float64,
    )
    a, b = found["node_a"], found["node_b"]
    kept: NDArray[np.bool_] = climb(a, b, weight, matching.definition.ladder) & found["is_open"].astype(bool)
    kept &= pieces.find(a) != pieces.find(b)
    con.register("match_dense", pa.table({"node_a": a[kept], "node_b": b[kept]}))
    single = ", ".join(f"'{name}'" for name, kind in rules.identifiers.items() if kind.max_per_customer == 1) or "''"
    con.execute(
        "insert into match_links with pairs as (select c.node_a, c.node_b, c.match_weight "
        "from identity.match_candidates as c join match_dense using (node_a, node_b) "
        f"where c.match_probability >= $start and {_MAY_LINK}), "
        # A pair from the side of each of its records: whom it would link with, where a customer holds one such.
        f"sides as ({_sides('pairs', single)}), "
        # Whom people say that a record belongs with leaves no room for another of that kind.
        f"taken as ({_sides('match_links', single)}), "
        "settled as (select node_a, node_b from sides semi join taken using (node_id, id_type, id_namespace)), "
        "beaten as (select * from sides anti join settled using (node_a, node_b) qualify row_number() over ("
        "partition by node_id, id_type, id_namespace order by match_weight desc, node_a, node_b) > 1), "
        # What is linked or joined as published stays so: the limit is for what a run would add.
        f"known as (select row(node_a, node_b) from pairs semi join (select node_a, node_b from identity.edges "
        f"where source = '{SOURCE}') using (node_a, node_b) union select row(p.node_a, p.node_b) from pairs as p "
        "join identity.identifier_map as a on a.node_id = p.node_a "
        "join identity.identifier_map as b on b.node_id = p.node_b where a.customer_id = b.customer_id) "
        "select node_a, node_b, true from pairs anti join settled using (node_a, node_b) "
        "anti join beaten using (node_a, node_b) "
        "qualify (node_a, node_b) in (from known) or row_number() over (partition by (node_a, node_b) in (from known) "
        "order by match_weight desc, node_a, node_b) <= $limit",
        {"start": automatic.start, "limit": automatic.max_links},
    )
    con.unregister("match_dense")


def _sides(pairs: str, single: str) -> str:
    """Return the SQL of pairs by record, with type and namespace of the other one, of types in ``single`` alone."""
    return " union all ".join(
        f"select p.*, p.{mine} as node_id, n.id_type, n.id_namespace from {pairs} as p "
        f"join nodes as n on n.node_id = p.{other} where n.id_type in ({single})"
        for mine, other in (("node_a", "node_b"), ("node_b", "node_a"))
    )


def _keep_apart(con: Connection) -> None:
    """Name for admission what people call no match: no chain of matches joins the two, however long it is."""
    con.execute(
        "insert into match_bars select node_a, node_b, 'm' || label_seq from match_said "
        "where verdict = 'no_match' and node_a <> node_b"
    )


def _write_links(con: Connection) -> None:
    con.execute(
        f"insert into links by name select m.node_a, m.node_b, '{SOURCE}' as source, "
        "concat_ws(', ', 'model ' || c.model_version, case when not m.is_automatic "
        f"then '{LABELLED}' end) as evidence, {MATCH_TIER} as tier, c.match_probability, 1 as n_obs, "
        "least(a.first_seen_at, b.first_seen_at) as first_seen_at, "
        "greatest(a.last_seen_at, b.last_seen_at) as last_seen_at, null as reject_rule, "
        # Components before guards are what sources make of the data.
        "false as is_raw from match_links as m join nodes as a on a.node_id = m.node_a "
        "join nodes as b on b.node_id = m.node_b left join identity.match_candidates as c using (node_a, node_b)"
    )


def _write_parts(con: Connection) -> bool:
    """Write ``match_parts(node_id, part)`` of customers that matches hold together; say whether there are matches."""
    if not con.execute(f"{_ADMITTED} limit 1").fetchall():
        return False
    con.execute(
        "create or replace temp table match_members as select node_id, component from components where component in "
        f"(select c.component from ({_ADMITTED}) as m join components as c on c.node_id = m.node_a)"
    )
    members = fetch_integers(con, "select node_id, component from match_members")
    edges = _edges(
        con, f"tier < {MATCH_TIER} and reject_rule is null and node_a in (select node_id from match_members)"
    )
    part = Pieces.of(*edges).find(members["node_id"])
    con.register("match_found", pa.table({**members, "part": part}))
    con.execute(
        "create or replace temp table match_parts as select node_id, part from match_found where component in "
        "(select component from match_found group by component having count(distinct part) > 1)"
    )
    con.unregister("match_found")
    con.execute("drop table match_members")
    return True


def _name_causes(con: Connection) -> None:
    """Name in ``identity.candidate_events`` the match that a merge follows from."""
    con.execute(
        "update identity.candidate_events set cause_rule = c.cause from ("
        "with ends as (select oa.customer_id as old_a, ob.customer_id as old_b, "
        f"'match ' || l.node_a || '-' || l.node_b as cause from ({_ADMITTED}) as l "
        "join identity.identifier_map as oa on oa.node_id = l.node_a "
        "join identity.identifier_map as ob on ob.node_id = l.node_b where oa.customer_id <> ob.customer_id) "
        "select customer_id, other_id, min(cause) as cause from (select old_a as customer_id, old_b as other_id, cause "
        "from ends union all select old_b, old_a, cause from ends) group by all) as c "
        "where candidate_events.event = 'merge' and candidate_events.cause_rule is null "
        "and c.customer_id = candidate_events.customer_id and c.other_id = candidate_events.other_customer_id"
    )
