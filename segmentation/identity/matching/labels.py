"""What people say of pairs, and what follows for links that nobody looks at.

Belongs here: labels, samples of pairs to label, and the precision that they show. Does not belong here: links
(`links.py`), or showing pairs (`review.py`). Labels act with the next run of identity.
"""

from dataclasses import dataclass
from typing import Literal

from segmentation import audit
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.email_providers import Providers
from segmentation.identity.evaluation import proportion
from segmentation.identity.matching.candidates import Matching
from segmentation.identity.matching.read_now import read_labels, read_samples, said_of
from segmentation.identity.rule_book import Signature, check_words
from segmentation.warehouse import Connection

Verdict = Literal["match", "no_match"]

#: Pairs that automatic links are chosen from, and their share that is right is asked of.
POPULATION = "state <> 'evident'"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records by their node ids, the lower first; people write ``17-42``."""

    node_a: int
    node_b: int

    def __str__(self) -> str:
        return f"{self.node_a}-{self.node_b}"


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of a pair."""

    pair: Pair
    verdict: Verdict
    label_seq: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class Precision:
    """What labels show of the pairs that would be linked automatically.

    Attributes:
        drawn: Pairs drawn at random from them.
        labelled: Of these, pairs that people said anything of.
        right: Of these, matches.
        low: Lower bound of the share that is right (Wilson, 95 %); a pair that nobody labelled counts as wrong.
            ``None`` where none was drawn.
        least: What the catalog asks for; ``None`` where it wants no automatic links.
    """

    drawn: int
    labelled: int
    right: int
    low: float | None
    least: float | None

    @property
    def suffices(self) -> bool:
        """Whether pairs may be linked that nobody has looked at."""
        return self.least is not None and self.low is not None and self.low >= self.least


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A pair that people call no match, and that is one customer's all the same.

    Attributes:
        pair: By its nodes; one node twice where both addresses are one mailbox by now.
        customer_id: Whose both are, as published.
        author: Who said that they are two.
        reason: Why.
    """

    pair: str
    customer_id: str
    author: str
    reason: str


def read_pair(con: Connection, text: str, providers: Providers = ()) -> Pair:
    """Return the pair that a person names.

    Args:
        con: The warehouse.
        text: Two node ids, such as ``17-42``.
        providers: Of addresses, as the catalog knows them: what was said of a former address counts, too.

    Raises:
        NotFoundError: The model in force does not find it, and nobody labelled it.
    """
    first, _, second = text.partition("-")
    if first.isdigit() and second.isdigit() and first != second:
        pair = Pair(*sorted((int(first), int(second))))
        known = con.execute(
            "select 1 from identity.match_candidates where node_a = $a and node_b = $b union all "
            f"select 1 from {read_labels(providers)} where node_a = $a and node_b = $b",
            {"a": pair.node_a, "b": pair.node_b},
        ).fetchall()
        if known:
            return pair
    raise NotFoundError(
        f"{text} is no pair that matching found",
        where="identity.match_candidates",
        expected="two node ids, such as 17-42, of records that look alike",
        repair="strata matching review",
    )


def add_label(con: Connection, pair: Pair, verdict: Verdict, signature: Signature, providers: Providers = ()) -> Label:
    """Write what a person says of a pair, and its row in the audit log, in the caller's transaction.

    What was said of it before is replaced, also under addresses that these ``providers`` deliver into one mailbox.

    Raises:
        StrataError: The same was said before, or the reason can't be kept.
    """
    check_words(con, signature, (pair.node_a, pair.node_b))
    if _verdict_of(con, pair, providers) == verdict:
        raise _refused(f"{pair} is labelled {verdict} already", "another label, or a pair without one")
    seq = _record(con, pair, f"matching.{verdict}", signature)
    _forget(con, pair, providers)
    con.execute(
        "insert into identity.match_labels values (?, ?, ?, ?, ?, ?, ?)",
        [seq, pair.node_a, pair.node_b, verdict, signature.author, signature.reason, signature.at],
    )
    _set_state(con, pair, verdict)
    return Label(pair, verdict, seq, signature)


def end_label(con: Connection, pair: Pair, signature: Signature, providers: Providers = ()) -> None:
    """Take back what was said of a pair, in the caller's transaction; the next run is as if nobody had said it.

    Raises:
        StrataError: Nobody said anything of it.
    """
    check_words(con, signature, (pair.node_a, pair.node_b))
    if _verdict_of(con, pair, providers) is None:
        raise _refused(f"{pair} has no label", "a labelled pair")
    _record(con, pair, "matching.unlabel", signature)
    _forget(con, pair, providers)
    _set_state(con, pair, "review")


def draw_sample(con: Connection, matching: Matching, size: int, signature: Signature, providers: Providers = ()) -> int:
    """Draw pairs at random from those that would be linked automatically; return how many there were left to draw.

    Chance is the hash of a pair, so nobody chooses. Pairs that identifiers link are not drawn: they are easier.

    Raises:
        StrataError: The catalog wants no automatic links.
    """
    automatic = matching.definition.automatic
    if automatic is None:
        raise StrataError(
            "there is nothing to draw from: nothing is linked automatically",
            where="catalog/matching.yml",
            expected="a section automatic",
            repair="strata matching label links single pairs",
        )
    check_words(con, signature, ())
    drawn = con.execute(
        "insert into identity.match_samples by name select node_a, node_b, $basis as fingerprint, "
        "$start::double as drawn_from, match_probability, $author as author, $at as drawn_at "
        f"from identity.match_candidates where {POPULATION} and match_probability >= $start "
        f"and (node_a, node_b) not in (select (node_a, node_b) from {read_samples(providers)} "
        "where fingerprint = $basis and drawn_from <= $start) "
        "order by hash(node_a, node_b, $basis), node_a, node_b limit $size",
        {
            "basis": matching.fingerprint,
            "start": automatic.start,
            "author": signature.author,
            "at": signature.at,
            "size": size,
        },
    ).fetchall()
    number = int(drawn[0][0])
    if number:
        facts = {"pairs": number, "from": f"{automatic.start}", "model": matching.model.version}
        audit.append(
            con,
            at=signature.at,
            actor=signature.author,
            action="matching.sample",
            subject=f"model {matching.model.version}",
            detail={**facts, "reason": signature.reason},
        )
    return number


def assess(con: Connection, matching: Matching, providers: Providers = ()) -> Precision:
    """Say what labels show of the pairs that would be linked automatically.

    Of pairs drawn from a wider range those within the present one are drawn from it at random, too; pairs drawn from a
    narrower range, by another model or from other records say nothing of it.
    """
    automatic = matching.definition.automatic
    if automatic is None:
        return Precision(0, 0, 0, None, None)
    [(drawn, labelled, right)] = con.execute(
        "select count(*), count(l.verdict), count(*) filter (l.verdict = 'match') from ("
        f"select distinct node_a, node_b from {read_samples(providers)} where fingerprint = $basis "
        "and drawn_from <= $start and match_probability >= $start) as s "
        f"left join {read_labels(providers)} as l using (node_a, node_b)",
        {"basis": matching.fingerprint, "start": automatic.start},
    ).fetchall()
    low = proportion("precision", int(right), int(drawn)).ci_low
    return Precision(int(drawn), int(labelled), int(right), low, automatic.least_precision)


def find_contradictions(con: Connection, providers: Providers = ()) -> list[Contradiction]:
    """Return the pairs that people call no match and that evidence makes one customer's, as published."""
    rows = con.execute(
        "select l.node_a || '-' || l.node_b, m.customer_id, l.author, l.reason "
        f"from {read_labels(providers)} as l join identity.identifier_map as m on m.node_id = l.node_a "
        "join identity.identifier_map as n on n.node_id = l.node_b "
        "where l.verdict = 'no_match' and m.customer_id = n.customer_id order by l.node_a, l.node_b"
    ).fetchall()
    return [Contradiction(*row) for row in rows]


def _verdict_of(con: Connection, pair: Pair, providers: Providers) -> str | None:
    rows = con.execute(
        f"select verdict from {read_labels(providers)} where node_a = ? and node_b = ?", [pair.node_a, pair.node_b]
    ).fetchall()
    return str(rows[0][0]) if rows else None


def _forget(con: Connection, pair: Pair, providers: Providers) -> None:
    said = said_of(pair.node_a, pair.node_b, providers)
    con.execute(f"delete from identity.match_labels where label_seq in ({said})")


def _set_state(con: Connection, pair: Pair, state: str) -> None:
    con.execute(
        "update identity.match_candidates set state = ? where node_a = ? and node_b = ?",
        [state, pair.node_a, pair.node_b],
    )


def _record(con: Connection, pair: Pair, action: str, signature: Signature) -> int:
    detail = {"nodes": [pair.node_a, pair.node_b], "reason": signature.reason}
    entry = audit.append(con, at=signature.at, actor=signature.author, action=action, subject=str(pair), detail=detail)
    return entry.seq


def _refused(what: str, expected: str) -> StrataError:
    return StrataError(f"the label is refused: {what}", where="identity.match_labels", expected=expected)
