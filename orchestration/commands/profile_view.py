"""A customer's profile as a table: each value, who stated it, and what contradicts it.

Belongs here: showing it, for every command that does. Does not belong here: choosing values
(`segmentation/identity/survivorship.py`).
"""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from orchestration.commands.console import table
from segmentation.identity.explain import StatedValue


def profile_table(values: Iterable[StatedValue]) -> Table:
    """Build the table; a value that contradicts the one of the profile stands below it."""
    rows = [
        (
            one.attribute if one.is_golden else "",
            one.value if one.is_golden else Text(f"not {one.value}", style="yellow"),
            one.stated_by,
            one.seen_at,
            one.n_obs,
        )
        for one in values
    ]
    return table(["attribute", "value", "stated by", "at", "rows"], rows, title="Profile")
