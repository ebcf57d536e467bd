"""How the measurement of many edges reads in `RESULTS.md`.

Belongs here: the section's text. Does not belong here: measuring (`identity_edges.py`).
"""

from collections.abc import Iterator
from typing import Any

Figures = dict[str, Any]

TITLE = "Identity, 10 million edges"

_HEADER = (
    "| way | CPU s | wall s | peak MiB | against the limit | CPU s with evidence | customers or components |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)
_NAMES = {
    "limit": "limit: scipy, and the SQL that feeds it and writes the map",
    "limit_tables": "the same, and ids, history and events written by hand",
    "contraction": "SQL contraction, and the map",
    "splink": "Splink's clustering, and the map",
    "stage": "the stage: guards, persistent ids, map, history, events",
    "second_day_whole": "the day after, solved whole",
    "second_day_changed": "the day after, solved where it changed",
}
#: The most that the stage may take of the limit, how much less a second day has to take, and the memory in MiB.
_MOST, _LEAST, _MEMORY = 1.5, 5.0, 4096


def render(figures: Figures) -> str:
    """Return the section's text."""
    world, machine, ways = figures["world"], figures["machine"], figures["ways"]
    intro = (
        f"{world['edges']:,} edges between {world['identifiers']:,} identifiers, already in the warehouse as integers; "
        f"the day after brings {world['edges_of_the_second_day']:,} more, of newcomers and of people known. One "
        f"cookie in five hundred is two people's: the stage tries {ways['stage']['edges_tried_singly']:,} edges one by "
        "one. Each way runs in a process of its own. The stage also writes the evidence (identifiers and edges, with "
        "what was decided of each), which has a column of its own; what follows for profiles and consents is not "
        "counted here."
    )
    table = "\n".join([_HEADER, *(_row(name, ways) for name in _NAMES)])
    how = (
        f"Measured {figures['date']} on {machine['cores']} cores ({machine['processor']}), load at the start "
        f"{machine['load']}. Repeat: `python -m benchmarks.identity_edges`."
    )
    return "\n\n".join([intro, "\n".join(_aims(ways)), table, how])


def _aims(ways: dict[str, Figures]) -> Iterator[str]:
    bare, full = (ways["stage"]["cpu"] / ways[name]["cpu"] for name in ("limit", "limit_tables"))
    text = f"at most {_MOST} × the limit; {bare:.1f} ×, and {full:.1f} × one that writes the same tables"
    yield _aim(text, is_met=bare <= _MOST)
    peak = max(ways[name]["peak_bytes"] >> 20 for name in ("stage", "second_day_whole", "second_day_changed"))
    yield _aim(f"at most {_MEMORY:,} MiB; {peak:,}", is_met=peak <= _MEMORY)
    whole, changed = ways["second_day_whole"], ways["second_day_changed"]
    bare, full = (whole[name] / changed[name] for name in ("cpu", "cpu_with_evidence"))
    text = f"a day's increment at least {_LEAST:g} × cheaper than a full solve; {bare:.1f} ×, and {full:.1f} × with "
    yield _aim(f"{text}the evidence", is_met=min(bare, full) >= _LEAST)


def _aim(text: str, *, is_met: bool) -> str:
    return f"* **{'met' if is_met else 'missed'}**: {text}."


def _row(name: str, ways: dict[str, Figures]) -> str:
    one = ways[name]
    cells = [
        _NAMES[name],
        f"{one['cpu']:.1f}",
        f"{one['wall']:.1f}",
        f"{one['peak_bytes'] >> 20:,}",
        f"{one['cpu'] / ways['limit']['cpu']:.1f}",
        f"{one['cpu_with_evidence']:.1f}" if "cpu_with_evidence" in one else "",
        f"{one['components']:,}",
    ]
    return f"| {' | '.join(cells)} |"
