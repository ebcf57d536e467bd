"""Questions people ask about what was not loaded for want of consent: how much, of what, for which purpose, and why.

Belongs here: reading counts for people. Does not belong here: deciding what is withheld
(`segmentation/identity/withholding`). There are counts alone: nothing of what was withheld is kept.
"""

from dataclasses import dataclass
from datetime import datetime

from segmentation.errors import NotFoundError, did_you_mean
from segmentation.sources.entities import ENTITIES
from segmentation.warehouse import Connection

#: What the reasons mean, for people.
REASONS: dict[str, str] = {
    "refused": "somebody whom the row names refuses it now",
    "refused_then": "it was refused when the row happened; a later grant does not reach back",
    "undecided": "nobody known has granted it",
    "undecided_then": "it was granted only after the row happened",
    "part": "the row that it belongs to was withheld, or has never come",
}


@dataclass(frozen=True, slots=True)
class WithheldCount:
    """What was withheld of one entity of a source, for one purpose and reason.

    Attributes:
        field: The column that lost its value; empty where whole rows were dropped.
        rows: How many rows, or values.
        newest_at: When the newest of them was withheld.
    """

    source: str
    entity: str
    field: str
    purpose: str
    reason: str
    rows: int
    newest_at: datetime


def count_withheld(con: Connection, *, entity: str = "", of_candidate: bool = False) -> list[WithheldCount]:
    """Count what was withheld, most first.

    Args:
        con: The warehouse, or the readers' copy.
        entity: Only of this entity.
        of_candidate: Of the newest candidate, which may not be published; else of everything that was.

    Raises:
        NotFoundError: There is no such entity.
    """
    if entity and entity not in ENTITIES:
        raise NotFoundError(
            f"there is no entity {entity!r}{did_you_mean(entity, ENTITIES)}",
            where="segmentation/sources/entities.py",
            expected=f"one of {', '.join(ENTITIES)}",
            repair="correct the name",
        )
    rows = con.execute(
        "select source, entity, field, purpose, reason, sum(n_rows)::bigint as n, max(recorded_at) "
        f"from sources.{'candidate_' if of_candidate else ''}withheld where ? in ('', entity) "
        "group by all order by n desc, source, entity, field, purpose, reason",
        [entity],
    ).fetchall()
    return [WithheldCount(*row) for row in rows]
