"""What went wrong in the made-up company's period, and when.

Belongs here: the windows of the planted incidents. Does not belong here: how they show in a feed
(`gateway.py`, `cloud_bill.py`).
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from segmentation.sample.world import World

#: Service whose release went bad.
BAD_SERVICE = "checkout"


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, the end left out."""

    start: datetime
    end: datetime


def api_spike(world: World) -> Window:
    """When the heavy API users called far more often than ever: four hours, three days before the end."""
    start = world.moment(world.days - 3, hour=9)
    return Window(start, start + timedelta(hours=4))


def bad_release(world: World) -> Window:
    """When a release of one service failed and was slow: ten hours, five days before the end."""
    start = world.moment(world.days - 5, hour=8)
    return Window(start, start + timedelta(hours=10))


def restated_month(world: World) -> date:
    """First day of the month whose bill is delivered twice: the one before the last, where there is one."""
    last = (world.end - timedelta(days=1)).replace(day=1)
    before = (last - timedelta(days=1)).replace(day=1)
    return before if before >= world.start.replace(day=1) else last
