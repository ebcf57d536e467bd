"""What a run is: one identity, one clock.

The domain never asks the machine for the time. Whoever starts a run decides both moments, so that the
same input with the same ``as_of`` gives the same tables.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


def as_utc(moment: datetime) -> datetime:
    """Return ``moment`` as naive UTC, the form all tables hold; a naive moment is taken to be UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over the data.

    Attributes:
        run_id: Who wrote a row; the orchestrator's run id where there is one.
        as_of: The moment the results describe, UTC, without time zone. Later events are not seen.
        recorded_at: When the run wrote, UTC, without time zone. Never part of a result.
    """

    run_id: str
    as_of: datetime
    recorded_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "as_of", as_utc(self.as_of))
        object.__setattr__(self, "recorded_at", as_utc(self.recorded_at))


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did, for people: shown in the summary and as asset metadata.

    Attributes:
        rows: Row counts by table or by kind ("orders", "quarantined"), in the order to show them.
        facts: Other figures worth showing (JSON-ready).
        candidate_id: The candidate that was written or published.
    """

    candidate_id: str
    rows: dict[str, int]
    facts: dict[str, object]
