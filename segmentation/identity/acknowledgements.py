"""When a candidate is unusual (rule R7), and what people have looked at and found right.

Belongs here: the numbers from which on the gate holds a candidate back, and acknowledgements. Does not belong here: the
truths that compare (`expectations/suites/identity.py`), or the thresholds (`publish_gate` in `identifiers.yml`).

An acknowledgement is worth as much as was seen: of a size (the largest component, the largest customer) until it grows
beyond that; of what one run did (ids that moved, merges, refused links) until something is published.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from segmentation.contracts import latest_candidate
from segmentation.errors import NotFoundError, StrataError, did_you_mean
from segmentation.identity.catalog import IdentifierRules
from segmentation.run import Run
from segmentation.warehouse import Connection, scalar

Figures = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the gate judges by its amount.

    Attributes:
        value: Figure of the candidate.
        allowed: Figure with the most that holds nothing back.
        is_size: Whether it describes the map, not what one run did to it.
    """

    value: str
    allowed: str
    is_size: bool


#: What can be acknowledged, by the name of its truth.
FINDINGS: dict[str, Finding] = {
    "largest_raw_component_is_known": Finding("raw_max_component", "raw_max_component_allowed", is_size=True),
    "known_customers_keep_their_id": Finding("known_moved", "known_moved_allowed", is_size=False),
    "merges_are_usual": Finding("merges", "merges_allowed", is_size=False),
    "refused_links_are_usual": Finding("rejected_edge_ratio", "rejected_edge_ratio_allowed", is_size=False),
    "customers_stay_within_their_size": Finding("max_customer_nodes", "max_nodes_allowed", is_size=True),
}


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What somebody looked at.

    Attributes:
        truth: The truth that did not hold.
        candidate_id: Of which candidate.
        value: How much it was: the most that holds nothing back from now on.
        allowed: How much would have held nothing back.
        is_size: Whether it lasts until the size grows; otherwise until something is published.
    """

    truth: str
    candidate_id: str
    value: float
    allowed: float
    is_size: bool


def find_allowances(con: Connection, run: Run, rules: IdentifierRules, figures: Figures) -> dict[str, float | None]:
    """Return the most that each finding may be, by the figure's name; ``None`` where nothing is known to be unusual.

    What is usual follows from the publications before ``run.as_of``: of several at one moment, the one that did most.
    """
    gate = rules.publish_gate
    merges, refused = _history(con, run, gate.history)
    has_history = len(merges) >= gate.history_min
    known = gate.known_raw_component.ratio if gate.known_raw_component else 0.0
    share = max(gate.raw_max_component_ratio, known)
    allowed: dict[str, float | None] = {
        # What fits into one customer is no over-merge, however few identifiers there are.
        "raw_max_component_allowed": float(max(rules.max_nodes, int(share * figures["n_identifiers"]))),
        "known_moved_allowed": float(max(gate.known_ids_min, int(gate.known_id_churn_ratio * figures["known_before"]))),
        "merges_allowed": max(float(gate.merges_min), gate.merges_factor * median(merges)) if has_history else None,
        "rejected_edge_ratio_allowed": max(gate.rejected_edge_ratio_min, gate.rejected_edge_factor * median(refused))
        if has_history
        else None,
        "max_nodes_allowed": float(rules.max_nodes),
    }
    for finding, value in _acknowledged(con).items():
        most = allowed[finding.allowed]
        if most is not None:
            allowed[finding.allowed] = max(most, value)
    return allowed


def acknowledge(
    con: Connection, truth: str, *, author: str, reason: str, at: datetime, acknowledgement_seq: int
) -> Acknowledgement:
    """Let what the newest candidate was held for hold nothing back: not more than that, and not for longer.

    Args:
        con: The warehouse, in a transaction.
        truth: A name of `FINDINGS`.
        author: Who looked.
        reason: Why it is right.
        at: The moment, UTC.
        acknowledgement_seq: Its number.

    Raises:
        NotFoundError: No such truth can be acknowledged, or there is no candidate.
        StrataError: It holds already.
    """
    finding = FINDINGS.get(truth)
    if finding is None:
        raise NotFoundError(
            f"{truth} can't be acknowledged{did_you_mean(truth, FINDINGS)}",
            where="the gate of identity",
            expected=", ".join(FINDINGS),
            repair="strata gates shows what was held back, and by which truth",
        )
    candidate = latest_candidate(con, "identity")
    if candidate is None:
        raise NotFoundError("there is no candidate of identity", where="ops.candidates", repair="strata run")
    value, allowed = con.execute(f"select {finding.value}, {finding.allowed} from identity.candidate").fetchall()[0]
    if allowed is None or value <= allowed:
        raise StrataError(
            f"{truth} holds: {finding.value} is {value:g}, allowed is {'any' if allowed is None else f'{allowed:g}'}",
            where=f"identity.candidate, {candidate.candidate_id}",
            expected="a candidate that the gate held back for it",
            repair="nothing to do",
        )
    con.execute(
        "insert into identity.acknowledgements by name select $seq as acknowledgement_seq, $truth as truth, "
        "$candidate_id as candidate_id, (select coalesce(max(publication_seq), 0) from identity.publications) "
        "as publication_seq, $value as value, $author as author, $reason as reason, $at as recorded_at",
        {
            "seq": acknowledgement_seq,
            "truth": truth,
            "candidate_id": candidate.candidate_id,
            "value": float(value),
            "author": author,
            "reason": reason,
            "at": at,
        },
    )
    return Acknowledgement(truth, candidate.candidate_id, float(value), float(allowed), finding.is_size)


def _history(con: Connection, run: Run, limit: int) -> tuple[list[int], list[float]]:
    rows = con.execute(
        "select max(merges), max(n_edges_rejected / greatest(n_edges, 1)) from identity.publications "
        "where as_of < ? group by as_of order by as_of desc limit ?",
        [run.as_of, limit],
    ).fetchall()
    return [int(merges) for merges, _ in rows], [float(ratio) for _, ratio in rows]


def _acknowledged(con: Connection) -> dict[Finding, float]:
    """Return how much of each finding is acknowledged now."""
    published = scalar(con, "select coalesce(max(publication_seq), 0) from identity.publications")
    rows = con.execute(
        "select truth, max(value) filter (publication_seq = ?), max(value) from identity.acknowledgements "
        "group by truth",
        [published],
    ).fetchall()
    return {
        FINDINGS[truth]: most
        for truth, since_published, ever in rows
        if truth in FINDINGS and (most := ever if FINDINGS[truth].is_size else since_published) is not None
    }
