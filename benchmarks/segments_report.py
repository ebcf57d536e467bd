"""How the measurement of fifty segments reads in `RESULTS.md`.

Belongs here: the section's text. Does not belong here: measuring (`segments_at_scale.py`).
"""

from collections.abc import Iterator
from typing import Any

Figures = dict[str, Any]

TITLE = "Fifty segments"

_HEADER = (
    "| customers | way | CPU s | wall s | peak MiB | against the scan | memberships | changes |\n"
    "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)
_NAMES = {
    "scan": "bare scan: all rules in one statement, nothing kept",
    "field": "the field's way: per segment a query, a comparison, a write",
    "stage": "the stage: decide, compare, publish, with history, causes, conflicts",
    "first_day": "the first day, everybody enters",
}
#: CPU seconds of the second day at most, how much less than the field's way at least, and MiB.
_MOST, _LEAST, _MEMORY = 10.0, 3.0, 4096
#: Customers that the aims are meant for.
_MEANT_FOR = 10_000_000


def render(figures: Figures) -> str:
    """Return the section's text."""
    machine = figures["machine"]
    intro = (
        "Fifty rules over 24 features, ten of them one exclusive group. The second day, on which one customer in a "
        "hundred has all values anew, is decided, compared with the first and published. The field's way keeps a table "
        "per segment and a log; it has no history, no causes, no winners' log and no common moment, and its groups are "
        "written into its rules by hand."
    )
    rows = [
        _row(customers, name, ways) for customers, ways in figures["sizes"].items() for name in _NAMES if name in ways
    ]
    how = (
        f"Measured {figures['date']} on {machine['cores']} cores ({machine['processor']}), load at the start "
        f"{machine['load']}. Repeat: `python -m benchmarks.segments_at_scale`."
    )
    return "\n\n".join([intro, "\n".join(_aims(figures["sizes"])), "\n".join([_HEADER, *rows]), _parts(figures), how])


def _aims(sizes: Figures) -> Iterator[str]:
    largest = max(sizes, key=int)
    ways = sizes[largest]
    taken, peak = ways["stage"]["cpu"], ways["stage"]["peak_bytes"] >> 20
    yield _aim(f"at most {_MOST:g} CPU s at {int(largest):,} customers; {taken:.1f}", is_met=taken <= _MOST)
    gain = ways["field"]["cpu"] / taken
    yield _aim(f"at least {_LEAST:g} × below the field's way; {gain:.1f} ×", is_met=gain >= _LEAST)
    yield _aim(f"at most {_MEMORY:,} MiB; {peak:,}", is_met=peak <= _MEMORY)
    if int(largest) < _MEANT_FOR:
        yield f"* The aims are for {_MEANT_FOR:,} customers, which were not measured here."


def _parts(figures: Figures) -> str:
    said = []
    for customers, ways in figures["sizes"].items():
        day = ways["stage"]["parts"]
        first = ways["first_day"]["parts"]
        said.append(
            f"{int(customers):,} customers: decide and compare {day['decide']['cpu']:.1f}, publish "
            f"{day['publish']['cpu']:.1f} (on the first day {first['decide']['cpu']:.1f} and "
            f"{first['publish']['cpu']:.1f})"
        )
    return f"CPU seconds by part: {'; '.join(said)}."


def _aim(text: str, *, is_met: bool) -> str:
    return f"* **{'met' if is_met else 'missed'}**: {text}."


def _row(customers: int | str, name: str, ways: dict[str, Figures]) -> str:
    one = ways[name]
    cells = [
        f"{int(customers):,}",
        _NAMES[name],
        f"{one['cpu']:.1f}",
        f"{one['wall']:.1f}",
        f"{one['peak_bytes'] >> 20:,}",
        f"{one['cpu'] / ways['scan']['cpu']:.1f}",
        f"{one['members']:,}",
        f"{one['changes']:,}" if "changes" in one else "",
    ]
    return f"| {' | '.join(cells)} |"
