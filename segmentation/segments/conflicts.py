"""The published log of conflicts: who was claimed by two segments of one exclusive group, and which one won.

Belongs here: bringing that log up to date with the candidate. Does not belong here: who wins (``decisions.py``). Most
conflicts stay from day to day, so only those of customers whose claims or memberships changed are written; each then
bears the run that first saw it.
"""

from segmentation.run import Run
from segmentation.segments.masks import held_places, word_count
from segmentation.warehouse import Connection

_SAME_PLACES = """
select not exists (
    (select {published} from segments.places except select {facts} from segments.candidate_places)
    union all
    (select {facts} from segments.candidate_places except select {published} from segments.places)
)
"""
#: What decides, beside a customer's own bits, which conflicts there are and how they read.
_FACTS = ("place", "segment_key", "group_key", "precedence", "ranks", "is_default", "pin_id")

_CONTESTED = """
create or replace temp table segments_contested as
select coalesce(n.customer_id, p.customer_id) as customer_id
from segments.candidate_masks as n full join segments.masks as p on n.customer_id = p.customer_id
where {differs}
"""

_INSERT = """
insert into segments.conflicts
select c.customer_id, c.group_key, c.winner_key, c.loser_key, c.decided_by, $run_id, $recorded_at
from segments.candidate_conflicts as c
"""


def publish_conflicts(con: Connection, run: Run) -> None:
    """Make the candidate's conflicts the published ones; call it within the transaction that publishes."""
    stamps = {"run_id": run.run_id, "recorded_at": run.recorded_at}
    if not _are_comparable(con):
        con.execute("delete from segments.conflicts")
        con.execute(_INSERT, stamps)
        return
    words = range(word_count(len(held_places(con) or {})))
    differs = " or ".join(
        f"coalesce(n.{part}_{word}, 0) <> coalesce(p.{part}_{word}, 0)"
        for part in ("claimed", "member")
        for word in words
    )
    con.execute(_CONTESTED.format(differs=differs))
    con.execute("delete from segments.conflicts where customer_id in (select customer_id from segments_contested)")
    con.execute(f"{_INSERT} semi join segments_contested using (customer_id)", stamps)
    con.execute("drop table segments_contested")


def _are_comparable(con: Connection) -> bool:
    """Say whether bits of the published masks and of the candidate's mean the same."""
    if held_places(con) is None:
        return False
    # Places that an earlier version published may lack a column; it knew no segment of several groups.
    known = {row[0] for row in con.execute("describe segments.places").fetchall()}
    if not known.issuperset(set(_FACTS) - {"ranks"}):
        return False
    published = ", ".join(name if name in known else f"null as {name}" for name in _FACTS)
    same = con.execute(_SAME_PLACES.format(facts=", ".join(_FACTS), published=published)).fetchall()
    return bool(same[0][0])
