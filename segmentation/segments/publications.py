"""Publications of membership: which one is live, and what it knew.

Belongs here: reading ``segments.publications``. Does not belong here: making one (``publish.py``).
"""

from dataclasses import dataclass
from datetime import datetime

from segmentation.warehouse import Connection


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication of membership.

    Attributes:
        seq: Its number; each is one higher than the last.
        candidate_id: The candidate that was published.
        as_of: The moment that it describes.
        identity_event_seq: Newest identity event that its decisions know of.
        features_candidate_id: The features that it was decided on.
    """

    seq: int
    candidate_id: str
    as_of: datetime
    identity_event_seq: int
    features_candidate_id: str | None


def latest_publication(con: Connection) -> Publication | None:
    """Return what is live; ``None`` before the first publication."""
    rows = con.execute(
        "select publication_seq, candidate_id, as_of, identity_event_seq, features_candidate_id "
        "from segments.publications order by publication_seq desc limit 1"
    ).fetchall()
    return Publication(*rows[0]) if rows else None
